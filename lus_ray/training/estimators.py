"""Scikit-learn estimators in files that are read without running code (skops).

Only the types listed here and the other estimators of scikit-learn are loaded.
"""

import functools
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lus_ray.errors import CheckpointError

TRUSTED = (
    "lus_ray.tasks.pairwise_svm.PairwiseSVC",
    "numpy.random.mtrand.RandomState",
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.dummy.DummyClassifier",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.ensemble._weight_boosting.AdaBoostClassifier",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.neighbors._classification.KNeighborsClassifier",
    "sklearn.neural_network._multilayer_perceptron.MLPClassifier",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.svm._classes.SVC",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._tree.Tree",
)
"""What fitted experts consist of."""

LISTS = "skops.io._trusted_types"
NAMES = (
    "SKLEARN_ESTIMATOR_TYPE_NAMES", "SKLEARN_INTERNAL_TYPE_NAMES", "SCIPY_UFUNC_TYPE_NAMES",
    "NUMPY_UFUNC_TYPE_NAMES", "NUMPY_RANDOM_BIT_GENERATOR_TYPE_NAMES", "NUMPY_DTYPE_TYPE_NAMES",
    "CONTAINER_TYPE_NAMES", "PRIMITIVE_TYPE_NAMES",
)  # fmt: skip


def dump(estimator: Any, path: Path) -> None:
    import_skops().dump(estimator, path)


def load(path: Path) -> Any:
    """The estimator of a file.

    Raises:
        CheckpointError: the file is damaged, or holds a type that is not trusted.
    """
    skops = import_skops()
    try:
        types = skops.get_untrusted_types(file=path)
        others = set(types) - set(TRUSTED)
        if unknown := sorted(others and others - _list_estimators()):
            raise CheckpointError(
                f"{path}: holds {unknown[0]}, which is not trusted; do not use it"
            )
        return skops.load(path, trusted=types)
    except CheckpointError:
        raise
    except Exception as error:  # skops raises many kinds on damaged files
        raise CheckpointError(f"{path}: not readable ({error}); train the cell again") from error


@functools.cache
def import_skops() -> ModuleType:
    """`skops.io`; unless it was imported before, a copy of our own that trusts plain values alone.

    Why: to list what else it trusts, skops imports all of scikit-learn and searches every loaded
    module for functions, which takes longer than everything else that a prediction needs. Other
    users of skops in this process import it with its own lists.
    """
    if "skops.io" in sys.modules:
        return importlib.import_module("skops.io")
    imported_before = _forget_skops()
    sys.modules[LISTS] = _list_plain_types()
    try:
        return importlib.import_module("skops.io")
    except ImportError:  # another version of skops, with other lists
        _forget_skops()
        return importlib.import_module("skops.io")
    finally:
        _forget_skops()
        sys.modules.update(imported_before)


def _forget_skops() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "skops"]
    return {name: sys.modules.pop(name) for name in names}


def _list_plain_types() -> ModuleType:
    """What stands for the lists of skops: types of plain values and arrays."""
    lists: Any = ModuleType(LISTS)
    for name in NAMES:
        setattr(lists, name, [])
    kinds = set(np.sctypeDict.values())
    lists.NUMPY_DTYPE_TYPE_NAMES = sorted(f"numpy.{kind.__name__}" for kind in kinds)
    lists.PRIMITIVE_TYPE_NAMES = [f"builtins.{kind}" for kind in ("int", "float", "str", "bool")]
    lists.CONTAINER_TYPE_NAMES = [f"builtins.{kind}" for kind in ("list", "set", "map", "tuple")]
    return lists


def _list_estimators() -> set[str]:
    from sklearn.utils import all_estimators  # imports all of scikit-learn

    return {f"{kind.__module__}.{kind.__name__}" for _, kind in all_estimators()}
