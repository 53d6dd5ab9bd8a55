"""One learning problem per file."""
