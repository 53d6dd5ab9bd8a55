"""Weights of other projects: published files, read without running their code."""
