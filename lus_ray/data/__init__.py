"""Clips at rest and in motion: stores, ingest, decoding, transforms, loading."""
