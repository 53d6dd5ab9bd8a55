"""Folds: disjoint sets of patients, assigned by group."""

import importlib
import sys
from types import ModuleType
from typing import Any

from lus_ray.folds.fold import SPLITS, Fold, Split, fingerprint, gate, read
from lus_ray.folds.protocols import (
    AcrossDomains,
    KFold,
    Official,
    Parts,
    Protocol,
    RoundRobin,
    StratifiedGroupKFold,
    across_domains,
    fixed_test,
    k_fold,
    official,
    one_split,
    rotating,
    round_robin,
    stratified_group_k_fold,
    write,
)

__all__ = [
    "SPLITS", "AcrossDomains", "Fold", "KFold", "Official", "Parts", "Protocol", "RoundRobin",
    "Split", "StratifiedGroupKFold", "across_domains", "fingerprint", "fixed_test", "gate",
    "k_fold", "official", "one_split", "read", "rotating", "round_robin",
    "stratified_group_k_fold", "write",
]  # fmt: skip


class _Folds(ModuleType):
    """Why a module that can be called: `lus_ray.folds(store)` has the name of this package."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return importlib.import_module("lus_ray.api.stores").folds(*arguments, **options)


sys.modules[__name__].__class__ = _Folds
