"""Models of run folders applied to one clip: selection, stages, response and parity check."""
