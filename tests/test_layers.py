"""The rooms of the house: a file imports only from rooms to its left, and some things nowhere."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "errors",
    "places",
    "files",
    "clip",
    "masks",
    "store",
    "predictions",
    "run_folder",
    "views",
    "augment",
    "six_steps",
    "six_copies",
    "matching",
    "dealing",
    "folds",
    "patches",
    "copies",
    "leaks",
    "ledger",
    "metrics",
    "recipe",
    "experiment",
    "nets",
    "ingest",
    "tasks",
    "checkpoint",
    "draws",
    "batches",
    "optimizers",
    "resume",
    "learn",
    "predictor",
    "stream",
    "figures",
    "report",
    "watch",
    "contact_sheet",
    "check",
    "service",
    "engine",
    "bench",
    "options",
    "cli",
)
OUTSIDE = ("experiments", "serve")
RAY_ROOMS = {"stream", "engine", "bench", "cli", *OUTSIDE}
FORBIDDEN = {"torchvision", "timm", "pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve"}
SHAPELESS = {"utils.py", "common.py", "base.py", "helpers.py"}


def test_every_file_keeps_to_its_room():
    files = sources(ROOT)
    assert len(files) > 10
    assert [trouble for path in files for trouble in troubles(path.read_text(), path)] == []


def test_every_room_is_in_the_order():
    rooms = {room(path) for path in sources(ROOT)} - {"__init__", *OUTSIDE}
    assert rooms <= set(ROOMS)


def test_the_map_of_the_readme_names_every_room():
    text = (ROOT / "README.md").read_text().partition("## Map of the house")[2]
    assert [room for room in ROOMS if not {f"`{room}.py`", f"`{room}/`"} & set(text.split())] == []


@pytest.mark.parametrize(
    ("path", "source", "trouble"),
    [
        ("clip.py", "from lus_ray.store import index", "imports lus_ray.store, a room to its righ"),
        ("clip.py", "import lus_ray.store", "imports lus_ray.store"),
        ("clip.py", "from lus_ray import store", "imports lus_ray.store"),
        ("clip.py", "from .store import index", "relative import"),
        ("clip.py", "def f():\n    from lus_ray.cli import main", "imports lus_ray.cli"),
        ("nets/unet.py", "from lus_ray.tasks.task import Task", "imports lus_ray.tasks"),
        ("learn.py", "from experiments.biomarkers import EXPERIMENT", "imports experiments"),
        ("engine/plan.py", "import serve.page", "imports serve"),
        ("learn.py", "import ray", "imports ray outside"),
        ("tasks/task.py", "def f():\n    import ray.train", "imports ray.train outside"),
        ("stream.py", "import ray.train", "only ray.data"),
        ("stream.py", "import ray", "only ray.data"),
        ("nets/resnet.py", "from torchvision.models import resnet18", "imports torchvision"),
        ("learn.py", "import pickle", "imports pickle"),
        ("learn.py", "def f():\n    from joblib import dump", "imports joblib"),
        ("learn.py", "importlib.import_module('pickle')", "imports pickle by name"),
        ("learn.py", "__import__('ray')", "imports ray by name"),
        ("learn.py", "torch.load(path, weights_only=True)", "calls torch.load"),
        ("learn.py", "from torch import load", "imports torch.load"),
        ("learn.py", "numpy.load(path, allow_pickle=True)", "allow_pickle"),
        ("learn.py", "numpy.load(path, allow_pickle=flag)", "allow_pickle"),
        ("learn.py", "eval(text)", "calls eval"),
        ("learn.py", "exec(text)", "calls exec"),
        ("utils.py", "", "a name that says nothing"),
        ("nets/base.py", "", "a name that says nothing"),
        ("misc.py", "", "no room of the house"),
    ],
)
def test_a_file_that_breaks_a_rule_is_caught(path, source, trouble):
    found = troubles(source, ROOT / "lus_ray" / path)
    assert any(trouble in line for line in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lus_ray/store.py", "from lus_ray.clip import SCHEMA"),
        ("lus_ray/nets/tsm.py", "from lus_ray.nets.resnet import resnet18"),
        ("lus_ray/stream.py", "import ray.data\nfrom ray.data import Dataset"),
        ("lus_ray/engine/plan.py", "import ray\nfrom lus_ray.folds import gate"),
        ("lus_ray/learn.py", "model.eval()\nnumpy.load(path, allow_pickle=False)"),
        ("lus_ray/tasks/task.py", "import torch\nfrom lus_ray import __version__"),
        ("experiments/biomarkers.py", "from ray import tune\nfrom lus_ray.folds import fixed_test"),
    ],
)
def test_a_file_that_keeps_the_rules_passes(path, source):
    assert troubles(source, ROOT / path) == []


def sources(root: Path) -> list[Path]:
    """Python files of the package and of the folders beside it that import it."""
    folders = [root / name for name in ("lus_ray", *OUTSIDE)]
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def room(path: Path) -> str:
    """The room of a file: a module or a folder of the package, or a folder beside it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "lus_ray" else parts[0]


def troubles(source: str, path: Path) -> list[str]:
    """What a source breaks, one line each with the file and the line number."""
    tree, here = ast.parse(source), room(path)
    found = [(0, "has a name that says nothing")] if path.name in SHAPELESS else []
    if here not in {"__init__", *ROOMS, *OUTSIDE}:
        found.append((0, "is in no room of the house; add it to the order"))
    for line, module in imports(tree):
        found += [(line, text) for text in import_troubles(module, here)]
    found += list(call_troubles(tree))
    return [f"{path.relative_to(ROOT)}:{line} {text}" for line, text in found]


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, at the top of a file or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def import_troubles(module: str, here: str) -> Iterator[str]:
    top, *rest = module.split(".")
    if module.startswith("."):
        yield "has a relative import; write the full name"
    if top in FORBIDDEN:
        yield f"imports {top}, which has no place here"
    if module == "torch.load":
        yield "imports torch.load, which can unpickle"
    if top == "ray" and here not in RAY_ROOMS:
        yield f"imports {module} outside of {sorted(RAY_ROOMS)}"
    if top == "ray" and here == "stream" and rest[:1] != ["data"]:
        yield f"imports {module}; stream may use only ray.data"
    if here in OUTSIDE:
        return
    if top in OUTSIDE:
        yield f"imports {module}; the package knows nothing of its users"
    if top == "lus_ray" and rest and rest[0] in rooms_right_of(here):
        yield f"imports lus_ray.{rest[0]}, a room to its right"


def rooms_right_of(here: str) -> tuple[str, ...]:
    """Rooms that a file may not import; for a file in no room, all of them."""
    return ROOMS[ROOMS.index(here) + 1 :] if here in ROOMS else ROOMS


def call_troubles(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in {"eval", "exec", "torch.load"}:
            yield node.lineno, f"calls {name}"
        if name in {"__import__", "import_module", "importlib.import_module"} and node.args:
            named = node.args[0]
            top = named.value.split(".")[0] if isinstance(named, ast.Constant) else ""
            if top in {*FORBIDDEN, "ray"}:
                yield node.lineno, f"imports {top} by name"
        for keyword in node.keywords:
            safe = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg == "allow_pickle" and not safe:
                yield node.lineno, "sets allow_pickle"


def test_every_folder_of_code_is_installed():
    plan = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = set(plan["tool"]["setuptools"]["packages"])
    folders = {
        path.parent for name in ("lus_ray", *OUTSIDE) for path in (ROOT / name).rglob("*.py")
    }
    assert {".".join(folder.relative_to(ROOT).parts) for folder in folders} == installed
