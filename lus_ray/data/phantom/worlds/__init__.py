"""Worlds of controls: simple clips whose truth is known, one file for each world.

A world is a module with `clips(*, ..., seed)`: the makers of its clips by name, as
`lus_ray.data.ingest.control` reads them: each gives the columns of a clip but its name, patient and
source. The same options give the same bytes.
"""
