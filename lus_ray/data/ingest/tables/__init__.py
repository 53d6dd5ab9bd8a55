"""Tables of labels, checked strictly."""
