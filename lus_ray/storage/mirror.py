"""A folder on object storage, and the copy of it on this machine's disk in which processes work.

    Mirror("s3://bucket/runs/biomarkers").local     ~/.cache/lus_ray/runs/<hash>/biomarkers

`download` makes the copy equal to the URI, `upload` sends files that changed, in order. A file and
its object are equal where size and time agree, as the copy takes over the object's time.
"""

import contextlib
import fnmatch
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lus_ray.storage import lease, paths
from lus_ray.storage.object_store import ObjectStore, is_hidden, is_same_version

RETRY_S = 60.0
NUM_TRANSFERS = 8


@dataclass(frozen=True)
class Mirror:
    """A folder at a URI and this machine's copy of it.

    With `reading`, the copy is a separate one, which no campaign works in. Requests that fail are
    repeated for `retry_s` seconds.
    """

    uri: str
    reading: bool = False
    retry_s: float = field(default_factory=lambda: RETRY_S)

    @property
    def local(self) -> Path:
        """The copy on this machine, below `$LUS_CACHE` or `~/.cache/lus_ray`."""
        digest = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        kind = "read" if self.reading else "runs"
        return paths.cache_root() / kind / digest / paths.basename(self.uri)

    @property
    def display_name(self) -> str:
        return urlsplit(self.uri)._replace(query="").geturl()

    def download(
        self,
        *names: str,
        exact: bool = True,
        without: Sequence[str] = (),
        max_weight_bytes: int | None = None,
    ) -> None:
        """Make files and folders of the copy, or all of it, equal to those at the URI.

        Names that match a pattern of `without`, and weights of more than `max_weight_bytes`, are
        skipped. With `exact`, files that are gone there are removed here. Raises CellError where
        the storage fails for `retry_s` (InputError if that is 0) or this disk is full.
        """
        store = self._store()
        for name in names or ("",):
            objects = store.list(name)
            stale = [
                (path, info)
                for path, info in objects.items()
                if not _matches(path, name, without)
                and not (
                    max_weight_bytes is not None
                    and info.size > max_weight_bytes
                    and path.endswith((".safetensors", ".skops"))
                )
                and not is_same_version(self.local / path, info)
            ]
            _run_all([partial(store.download, path, info) for path, info in stale])
            if exact:
                for path in set(_files(self.local, name)) - set(objects):
                    if not _matches(path, name, without):
                        (self.local / path).unlink(missing_ok=True)

    def upload(self, *names: str, exact: bool = False, without: Sequence[str] = ()) -> None:
        """Upload what changed in these files and folders, one name after the other.

        Names that match a pattern of `without` stay here. With `exact`, other objects are removed.
        Raises CellError where the storage fails for `retry_s`.
        """
        store = self._store()
        for name in names:
            local = [p for p in _files(self.local, name) if not _matches(p, name, without)]
            objects = store.list(name)
            changed = [
                path
                for path in local
                if path not in objects or not is_same_version(self.local / path, objects[path])
            ]
            _run_all([partial(store.upload, path) for path in changed])
            if exact:
                for path in sorted(set(objects) - set(local)):
                    store.remove(path)

    def hold_lease(self) -> contextlib.AbstractContextManager[None]:
        """Lock the folder against other drivers; InputError if it is locked or not writable."""
        return lease.hold_lease(self.uri, self.display_name)

    def _store(self) -> ObjectStore:
        name = self.display_name
        return ObjectStore(self.uri, self.local, display_name=name, retry_s=self.retry_s)


def _run_all(actions: Sequence[Callable[[], None]]) -> None:
    if len(actions) < 2:
        for action in actions:
            action()
        return
    with ThreadPoolExecutor(min(NUM_TRANSFERS, len(actions))) as pool:
        for future in [pool.submit(action) for action in actions]:
            future.result()


def _matches(path: str, top: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern fits the name of the file, or of a folder between `top` and it."""
    parts = path.removeprefix(top).split("/")
    return any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in patterns)


def _files(root: Path, name: str) -> Iterator[str]:
    top = root / name
    files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
    names = (path.relative_to(root).as_posix() for path in files)
    return (name for name in names if not is_hidden(name))
