"""The files of a source: one walk for all readers, and what became of every file.

Links to files and folders are followed, out of ROOT as well: whoever owns the folder made them. A
link back to a folder that holds it ends there. What cannot be read (a dangling link, a folder
without permission, a pipe) has a reason instead. Hidden names and other stores are not offered to
readers. `write_rest` completes the ledger: each file below ROOT is a stored clip, was read beside
the clips (`Ledger.use`), or has a row.
"""

import mimetypes
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lus_ray.data.decoding import file_types
from lus_ray.data.ledger import Ledger, escape_name
from lus_ray.data.store.manifest import MANIFEST
from lus_ray.errors import DecodeError

MAX_NAMES = 16
"""Names by which links may lead to one folder; without a bound, few links make endless paths."""
SYSTEM_FILES = frozenset((".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
SYSTEM_PREFIX = "._"
"""macOS keeps attributes of `name` in `._name` where the disk has no place for them."""
MIME_TYPES = mimetypes.MimeTypes()
EXTENSIONS = {".dcm", ".dicom", ".ima", ".vob", ".wmv", ".asf", ".flv", ".heic", ".webp"}
"""Of images and videos, beside those that `mimetypes` knows."""


@dataclass
class SourceFiles:
    """Regular files below `root` in the order of their names, and a reason for what is none."""

    root: Path
    files: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)
    stores: list[Path] = field(default_factory=list)

    def __iter__(self) -> Iterator[Path]:
        return iter([*self.files, *self.unreadable])


def list_files(folder: Path) -> list[Path]:
    """The regular files below a folder that a reader may use, in the order of their names."""
    return [path for path in walk(folder).files if not _is_hidden(path.relative_to(folder))]


def walk(root: Path) -> SourceFiles:
    """Everything below `root`; nothing raises, and no link leads the walk in circles."""
    found, times = SourceFiles(root), Counter[tuple[int, int]]()
    pending: list[tuple[Path, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while pending:
        folder, above = pending.pop()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            times[identity] += 1
            if reason := _check_folder(identity in above, times[identity]):
                found.unreadable[folder] = reason
                continue
            names = sorted(os.listdir(folder))
        except OSError as error:
            found.unreadable[folder] = f"not readable: {error.strerror}"
            continue
        if folder != root and MANIFEST in names:
            found.stores.append(folder)
            continue
        for path in (folder / name for name in names):
            try:
                mode = path.stat().st_mode
            except OSError as error:
                found.unreadable[path] = _explain(path, error)
                continue
            if stat.S_ISDIR(mode):
                pending.append((path, above | {identity}))
            elif stat.S_ISREG(mode):
                found.files.append(path)
            else:
                found.unreadable[path] = "neither a file nor a folder; remove it"
    found.files.sort()
    return found


def is_clip_file(path: Path) -> bool:
    """Whether a file is an image or a video by its content or its name; OSError if unreadable."""
    try:
        with path.open("rb") as file:
            file_types.detect_format(file)
        return True
    except DecodeError:  # of no known format, empty or truncated
        kind = MIME_TYPES.guess_type(path.name)[0] or ""
        is_named = path.suffix.lower() in EXTENSIONS or kind.startswith(("image/", "video/"))
        return is_named and not is_system_file(path)


def relative_name(path: Path, root: Path) -> str:
    """The name of a path in the ledger: relative to `root`, or whole if it is outside of it."""
    full = Path(os.path.abspath(path))
    base = Path(os.path.abspath(root))
    return escape_name((full.relative_to(base) if full.is_relative_to(base) else path).as_posix())


def name_clips(files: Collection[PurePosixPath], stems: Collection[str]) -> Iterator[str]:
    """A name for each path: its stem where no other path has it, else the whole path."""
    times, whole = Counter(stems), set(map(str, files))
    for file, stem in zip(files, stems, strict=True):
        is_unique = times[stem] == 1 and (stem == str(file) or stem not in whole)
        yield stem if is_unique else str(file)


def write_unreadable(found: SourceFiles, source: str, ledger: Ledger) -> None:
    """A row for each name below the root that leads to no file."""
    for path, reason in sorted(found.unreadable.items()):
        ledger.skip(source, relative_name(path, found.root), reason)
    for path in sorted(found.stores):
        ledger.note(source, relative_name(path, found.root), "a store of clips: not read")


def write_rest(found: SourceFiles, stored: Collection[Path], source: str, ledger: Ledger) -> None:
    """A row for each file without one that is neither stored nor was read beside the clips.

    Images, videos and what claims to be one are skipped, other files noted.
    """
    root = found.root
    real = {os.path.realpath(path): relative_name(path, root) for path in stored}
    used = {relative_name(path, root) for path in ledger.used}
    done = {entry.item for entry in ledger.entries} | used | set(real.values())
    for path in found.files:
        name = relative_name(path, root)
        if name in done or any(str(folder) in used for folder in PurePosixPath(name).parents):
            continue
        if same := real.get(os.path.realpath(path)):
            ledger.note(source, name, f"the same file as {same!r}, which is stored")
        elif reason := _find_loss(path, root, ledger.unlisted):
            ledger.skip(source, name, reason)
        else:
            ledger.note(source, name, "neither a video nor an image: not read")


def is_system_file(path: Path) -> bool:
    return path.name.lower() in SYSTEM_FILES or path.name.startswith(SYSTEM_PREFIX)


def _check_folder(is_above: bool, times: int) -> str | None:
    if is_above:
        return "a link to a folder that holds it: not followed"
    return (
        "links lead to this folder by too many names: not followed" if times > MAX_NAMES else None
    )


def _explain(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return "a link to a file that is not there; copy the file, or remove the link"
    return f"not readable: {error.strerror}"


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _find_loss(path: Path, root: Path, unlisted: str) -> str | None:
    """Why a file is skipped that is an image or a video by content or name; None for others."""
    try:
        if not is_clip_file(path):
            return None
    except OSError as error:
        return f"not readable: {error.strerror}"
    return (
        "hidden by the dot before its name; rename it"
        if _is_hidden(path.relative_to(root))
        else unlisted
    )
