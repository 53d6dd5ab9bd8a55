"""Connecting to Ray clusters, their resources and limits."""
