"""One control for each study, in a file of the same name; each defines `CONTROL`."""
