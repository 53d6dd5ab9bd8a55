"""The service: one deployment per file, and how they are composed."""
