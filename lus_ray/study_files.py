"""Study files: a Python file of one's own, with an experiment, its networks and its tasks.

Whoever names a file in a command trusts it like a script. Nothing else names code: a checkpoint
records the file and its hash, and its classes are looked up in the file with that hash alone.
Modules beside the file belong to it where it imports them at its top.
Why modules in memory: an experiment takes the sources along to the processes of a cluster, which
import and hash the same bytes, wherever the file lies.
"""

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lus_ray.errors import CheckpointError, InputError

SUFFIX = ".py"


@dataclass(frozen=True)
class StudyFile:
    """A file that was imported, with the sources of the modules beside it, by file name.

    Unpickling imports it: the modules of its classes exist once it was read.
    """

    path: Path
    sources: Mapping[str, str]
    modules: Mapping[str, ModuleType] = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return install, (str(self.path), dict(self.sources))

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.path.stem

    @property
    def module(self) -> ModuleType:
        return self.modules[self.name]

    @property
    def sha256(self) -> str:
        """Over the text of the file, and over names and texts of the modules beside it."""
        return _hash(self.path.name, self.sources)

    @property
    def record(self) -> dict[str, str]:
        """What a checkpoint names: the file and its hash."""
        return {"name": self.path.name, "sha256": self.sha256}

    @property
    def is_current(self) -> bool:
        """Whether its files still have the text that was imported."""
        finder = _Modules(self.path.parent)
        return all(finder.get_source(Path(n).stem) == text for n, text in self.sources.items())

    def find(self, name: str) -> Any:
        """The class or function of this name that its modules define, or None."""
        found = (vars(module).get(name) for module in self.modules.values())
        return next((value for value in found if self.defines(value)), None)

    def defines(self, value: Any) -> bool:
        """Whether it is a class or function at the top level of one of the modules."""
        module = self.modules.get(getattr(value, "__module__", None) or "")
        return module is not None and vars(module).get(getattr(value, "__name__", "")) is value


_loaded: dict[str, StudyFile] = {}
"""The study files that this process was given, by hash."""


def is_file_name(study: str) -> bool:
    """Whether a study is named by its file rather than by a name."""
    return study.endswith(SUFFIX) or "/" in study or "\\" in study


def load(path: Path | str) -> StudyFile:
    """Import a study file; its classes can be found from now on.

    Raises:
        InputError: there is no such file, its name is taken by another module, or it fails.
    """
    path = Path(path).resolve()
    if not path.is_file() or path.suffix != SUFFIX:
        raise InputError(f"{path}: is not a Python file; name a study or its file")
    for study in _loaded.values():
        if study.path == path and study.is_current:
            return install(str(path), study.sources)
    return _import(path, _Modules(path.parent))


def install(path: str, sources: Mapping[str, str]) -> StudyFile:
    """The study file with these sources, imported unless this process has it already."""
    where = Path(path)
    known = _loaded.get(_hash(where.name, sources))
    if known is not None and sys.modules.get(known.name) is known.module:
        return known
    return _import(where, _Modules(where.parent, dict(sources)))


def loaded() -> tuple[StudyFile, ...]:
    """The study files that this process was given, the latest last."""
    return tuple(_loaded.values())


def require(record: Mapping[str, str]) -> StudyFile:
    """The loaded study file that a checkpoint names.

    Raises:
        CheckpointError: it was not given, or it has changed since.
    """
    name, sha256 = record["name"], record["sha256"]
    if sha256 in _loaded:
        return _loaded[sha256]
    if changed := [study for study in _loaded.values() if study.path.name == name]:
        raise CheckpointError(
            f"{changed[-1].path} is not the file that it was trained with (sha256 "
            f"{changed[-1].sha256[:12]}, not {sha256[:12]}); restore that file, or train again"
        )
    raise CheckpointError(
        f"it was trained with {name} (sha256 {sha256[:12]}); give that file with --study"
    )


def file_of(value: Any) -> StudyFile | None:
    """The loaded study file that defines a class or function."""
    return next((study for study in reversed(_loaded.values()) if study.defines(value)), None)


class _Modules(InspectLoader, MetaPathFinder):
    """Finds and loads the modules of one folder, or those with the given sources.

    The standard library comes first.
    """

    def __init__(self, folder: Path, given: dict[str, str] | None = None) -> None:
        self.folder, self.given = folder, given
        self.sources: dict[str, str] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if "." in name or name in sys.stdlib_module_names or self.get_source(name) is None:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=str(self.folder / name) + SUFFIX)
        assert spec is not None
        spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str | None:
        if self.given is not None:
            return self.given.get(fullname + SUFFIX)
        path = self.folder / (fullname + SUFFIX)
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def get_code(self, fullname: str) -> CodeType:
        text = self.get_source(fullname) or ""
        self.sources[fullname + SUFFIX] = text
        return self.source_to_code(text, str(self.folder / fullname) + SUFFIX)

    def is_package(self, fullname: str) -> bool:
        return False


def _import(path: Path, finder: _Modules) -> StudyFile:
    _forget_modules(path.parent)
    taken = importlib.util.find_spec(path.stem) if path.stem.isidentifier() else None
    if not path.stem.isidentifier() or (taken and taken.origin not in (None, str(path))):
        where = f" of {taken.origin}" if taken else ""
        raise InputError(f"{path}: cannot be imported under the name{where}; rename the file")
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module(path.stem)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {_describe(error, path.parent)}") from error
    finally:
        sys.meta_path.remove(finder)
    modules = {Path(name).stem: sys.modules[Path(name).stem] for name in finder.sources}
    study = StudyFile(path, finder.sources, modules)
    _loaded.pop(study.sha256, None)  # the latest one comes last
    _loaded[study.sha256] = study
    return study


def _forget_modules(folder: Path) -> None:
    """Forget modules of other study files, and those that were imported from this folder."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        is_beside = file is not None and Path(file) == folder / f"{name}{SUFFIX}"
        if is_beside or isinstance(getattr(module, "__loader__", None), _Modules):
            del sys.modules[name]


def _hash(name: str, sources: Mapping[str, str]) -> str:
    digest = hashlib.sha256(sources[name].encode())
    for other in sorted(set(sources) - {name}):
        digest.update(f"\0{other}\0{sources[other]}".encode())
    return digest.hexdigest()


def _describe(error: BaseException, folder: Path) -> str:
    """The error and the last line of the folder's files that led to it."""
    line, step, text = "", error.__traceback__, str(error)
    if isinstance(error, SyntaxError):
        line, text = f"line {error.lineno}: ", error.msg
    while step is not None:
        file = Path(step.tb_frame.f_code.co_filename)
        if file.parent == folder:
            line = f"{file.name} line {step.tb_lineno}: "
        step = step.tb_next
    return f"{line}{type(error).__name__}: {' '.join(text.split())}"
