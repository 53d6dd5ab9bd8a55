"""A run folder: its layout, manifest and cells."""
