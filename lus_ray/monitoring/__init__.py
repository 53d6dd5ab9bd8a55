"""The status of a run: written by its driver, read from its folder by `lus watch`.

The reading side uses the folder alone: it works on any machine that sees the storage, during the
campaign and after its cluster is gone.
"""
