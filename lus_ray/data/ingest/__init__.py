"""One file per data source, each a generator of clips."""
