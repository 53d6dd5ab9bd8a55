"""A fuzz run of the ingest: `make fuzz`. Every example follows from its seed.

    python -m tests.fuzz --minutes 10       random examples; known seeds of seeds.txt first
    python -m tests.fuzz --seed N           one example again

`sources` builds a small valid folder whose pixels name their file and frame, `mutations` damages
it, and `invariants` compares the store that the ingest writes with what the folder then holds.
"""
