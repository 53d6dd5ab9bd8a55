"""The service: one deployment per file, the pipeline over them, HTTP and rollout."""
