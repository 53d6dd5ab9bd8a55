"""From predictions of cells to the contents of a report."""
