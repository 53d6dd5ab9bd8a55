"""One file per published table; each defines `EXPERIMENT`."""
