"""Tests mirror the package. Types and axes of annotations are checked while they run."""

from beartype import BeartypeConf, beartype

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
