"""Arrays to numbers: labels, intervals, tests."""
