"""`python -m lus_ray.cli` is the `lus` command."""

from lus_ray.cli import main

main()
