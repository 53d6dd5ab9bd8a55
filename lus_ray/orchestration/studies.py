"""The studies in `experiments/`, listed without importing them: importing torch takes seconds."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

from lus_ray.errors import InputError
from lus_ray.study_files import is_file_name
from lus_ray.suggestions import suggest


def list_studies() -> dict[str, str]:
    """The docstring of every study, by name."""
    spec = find_spec("experiments")
    folders = (spec and spec.submodule_search_locations) or ()
    files = sorted(file for folder in folders for file in Path(folder).glob("[!_]*.py"))
    return {file.stem: _read_docstring(file) for file in files}


def refuse_unknown(name: str) -> None:
    """Raise InputError for a name that is neither a study nor a Python file."""
    if is_file_name(name):
        if not Path(name).is_file():
            raise InputError(
                f"{name}: no such file; give your study file, or the name of a built-in study"
            )
        return
    if name not in (known := list_studies()):
        raise InputError(f"no study {name!r}{suggest(name, known)}")


def default_out(study: str, size: str, label: str | None = None) -> Path:
    """The run folder of a study at a size, of its own for every `--label`."""
    parts = [Path(study).stem, *([re.sub(r"[/\\]+", "-", label)] if label else []), size]
    return Path("runs") / "-".join(parts)


def read_docstring(name: str) -> str:
    """What a study says of itself; `name` may be the path of a file."""
    return _read_docstring(Path(name)) if is_file_name(name) else list_studies()[name]


def _read_docstring(file: Path) -> str:
    try:
        return ast.get_docstring(ast.parse(file.read_bytes())) or ""
    except SyntaxError as error:
        return f"(cannot be read: {error.msg}, line {error.lineno})"
