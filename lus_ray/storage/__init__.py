"""Files, paths, object storage and locks."""
