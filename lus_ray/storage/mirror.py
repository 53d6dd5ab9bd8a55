"""The home of a run on object storage: every process works in a copy on its own disk.

    Home("s3://bucket/runs/biomarkers").local     ~/.cache/lus_ray/runs/<hash>/biomarkers

The URI is the truth: `pull` makes files of the copy equal to it, `push` brings up those that
changed. A file and its object are alike where size and time agree, as each copy takes over the
time of the object. What is pushed later appears later: that is why the prediction file, which
says "finished", comes last.
"""

import contextlib
import fnmatch
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lus_ray.errors import InputError
from lus_ray.storage import lease, paths
from lus_ray.storage.object_store import Objects, alike, hidden

PATIENCE_S = 60.0
NUM_TRANSFERS = 8
NOT_READ = ("state.safetensors", "phantom")
"""What only the cell itself, or a store, has use for."""


@dataclass(frozen=True)
class Home:
    """A run at a URI, and this machine's copy of it.

    One that is `reading` has a copy of its own, so that a report or a page never changes files
    under a campaign. Storage that does not answer is asked again for `patience_s` seconds.
    """

    uri: str
    reading: bool = False
    patience_s: float = PATIENCE_S

    @property
    def local(self) -> Path:
        """The working folder of this machine, below `$LUS_CACHE` or `~/.cache/lus_ray`."""
        cache = Path(os.environ.get("LUS_CACHE") or Path.home() / ".cache" / "lus_ray")
        digest = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        return cache / ("read" if self.reading else "runs") / digest / paths.basename(self.uri)

    @property
    def shown(self) -> str:
        """The URI for people, without its options."""
        return urlsplit(self.uri)._replace(query="").geturl()

    def pull(
        self,
        *names: str,
        exact: bool = True,
        without: Sequence[str] = (),
        most_weights: int | None = None,
    ) -> None:
        """Make files and folders of the copy, or all of it, equal to those at the URI.

        With `exact`, a file that is gone there is removed here. Left alone are files, and folders
        below those named, whose own name fits a pattern of `without`, and weights of more than
        `most_weights` bytes.

        Raises:
            InputError: the storage cannot be asked, and there is no patience.
            CellError: it did not answer for `patience_s`, or this disk takes no more.
        """
        objects = self._objects()
        for name in names or ("",):
            there = objects.below(name)
            stale = [
                (path, info)
                for path, info in there.items()
                if not _fits(path, name, without)
                and not (most_weights is not None and info.size > most_weights and _heavy(path))
                and not alike(self.local / path, info)
            ]
            _each([partial(objects.fetch, path, info) for path, info in stale])
            if exact:
                for path in set(_files(self.local, name)) - set(there):
                    if not _fits(path, name, without):
                        (self.local / path).unlink(missing_ok=True)

    def push(self, *names: str, exact: bool = False, without: Sequence[str] = ()) -> None:
        """Bring up what changed in these files and folders, one name after the other.

        Files that fit a pattern of `without` stay here. With `exact`, what is not brought is
        removed there.

        Raises:
            CellError: the storage did not answer for `patience_s`; the copy stays as it is.
        """
        objects = self._objects()
        for name in names:
            here = [p for p in _files(self.local, name) if not _fits(p, name, without)]
            there = objects.below(name)
            changed = [p for p in here if p not in there or not alike(self.local / p, there[p])]
            _each([partial(objects.bring, path) for path in changed])
            if exact:
                for path in sorted(set(there) - set(here)):
                    objects.remove(path)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the run at the URI against a second driver, wherever that one is.

        Raises:
            InputError: another one holds it, or the storage cannot be written.
        """
        return lease.hold_lease(self.uri, self.shown)

    def _objects(self) -> Objects:
        return Objects(self.uri, self.local, shown=self.shown, patience_s=self.patience_s)


def of(place: paths.PathOrUri) -> Home | None:
    """The home of a run on object storage; None for a folder, which needs none."""
    return Home(str(place)) if paths.is_remote(place) else None


def readable(place: paths.PathOrUri) -> Path:
    """The folder in which a run can be read: itself, or a fresh copy of what lies at its URI.

    Raises:
        InputError: the storage cannot be asked, or no run lies there.
    """
    if not paths.is_remote(place):
        return Path(place)
    home = Home(str(place), reading=True, patience_s=0.0)
    home.pull(without=NOT_READ)
    if not (home.local / "experiment.json").is_file():
        raise InputError(f"{home.shown}: no run lies there; give the URI of a run folder")
    return home.local


def worked_in(place: paths.PathOrUri, *, weights: bool = False) -> Path:
    """The folder of this machine in which a run was worked on; with all `weights` if asked."""
    home = of(place)
    if home is None:
        return Path(place)
    if weights:
        home.pull("cells", without=NOT_READ)
    return home.local


def bring(place: paths.PathOrUri, folder: Path, *names: str) -> str:
    """Bring files of a copy to its URI; how the place of the first is shown to people."""
    home = of(place)
    if home is None:
        return str(folder / names[0])
    replace(home, reading=folder != home.local).push(*names)
    return f"{home.shown}/{names[0]}"


def _each(actions: Sequence[Callable[[], None]]) -> None:
    """Several at a time; the first error of any is raised."""
    if len(actions) < 2:
        for action in actions:
            action()
        return
    with ThreadPoolExecutor(min(NUM_TRANSFERS, len(actions))) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()


def _fits(path: str, top: str, patterns: Sequence[str]) -> bool:
    """Whether the file, or a folder between `top` and it, has a name of one of the patterns."""
    parts = path.removeprefix(top).split("/")
    return any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in patterns)


def _heavy(path: str) -> bool:
    return path.endswith((".safetensors", ".skops"))


def _files(root: Path, name: str) -> Iterator[str]:
    """Files of the copy below a name, as the URI would name them; hidden ones are left out."""
    top = root / name
    found = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
    for path in found:
        if not hidden(relative := path.relative_to(root).as_posix()):
            yield relative
