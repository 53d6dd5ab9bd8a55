"""Batches of samples from memory, a mapped file or a stream."""
