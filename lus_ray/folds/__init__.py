"""Folds: disjoint sets of patients, assigned by group."""

from lus_ray.folds.fold import SPLITS, Fold, Split, fingerprint, gate, read
from lus_ray.folds.protocols import (
    AcrossDomains,
    KFold,
    Official,
    Parts,
    Protocol,
    across_domains,
    fixed_test,
    k_fold,
    official,
    one_split,
    rotating,
    write,
)

__all__ = [
    "SPLITS", "AcrossDomains", "Fold", "KFold", "Official", "Parts", "Protocol", "Split",
    "across_domains", "fingerprint", "fixed_test", "gate", "k_fold", "official", "one_split",
    "read", "rotating", "write",
]  # fmt: skip
