"""Refuse clips that share a name or a file, as none of them is certain."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.source_files import relative_name
from lus_ray.data.ledger import Ledger

Item = dict[str, Any]


def drop_conflicts(items: Iterable[Item], root: Path, source: str, ledger: Ledger) -> list[Item]:
    """The items whose name and file no other item has, in their order.

    Items with one clip name are refused together. So are items of different patients with one
    file, unless the file itself is among them and the others are links to it. Otherwise one item
    is kept: the file itself, or the first link. Copies and hard links are files of their own: the
    leak gate joins their patients.
    """

    def skip(item: Item, reason: str) -> None:
        ledger.skip(source, name_item(item, root), reason)
        refused.add(id(item))

    items, refused = list(items), set[int]()
    for same in _repeated(items, lambda item: item["clip"]):
        for item in same:
            names = [name_item(other, root) for other in same if other is not item]
            reason = f"another file has the clip name {item['clip']!r} too: {names[0]}"
            skip(item, f"{reason}; rename one")
    files = [item for item in items if item.get("file") and id(item) not in refused]
    for same in _repeated(files, lambda item: os.path.realpath(item["file"])):
        originals = [item for item in same if _is_original(item["file"], root)]
        kept = (originals or same)[0]
        certain = bool(originals) or len({item["patient"] for item in same}) == 1
        for item in same:
            if certain and item is not kept:
                skip(item, f"the same file as {name_item(kept, root)!r}, which is read; remove it")
            elif not certain:
                others = [other for other in same if other["patient"] != item["patient"]]
                reason = "which belongs to another patient; keep the link that is right"
                skip(item, f"the same file as {name_item(others[0], root)!r}, {reason}")
    return [item for item in items if id(item) not in refused]


def name_item(item: Item, root: Path | None) -> str:
    """The item in the ledger: its file where it has one, else its clip."""
    if root is None or item.get("file") is None:
        return str(item["clip"])
    return relative_name(item["file"], root)


def _is_original(path: Path, root: Path) -> bool:
    """Whether no link below the root leads to the file."""
    base = os.path.realpath(root)
    return os.path.realpath(path) == os.path.join(base, os.path.relpath(path, root))


def _repeated(items: Iterable[Item], key: Callable[[Item], str]) -> Iterator[list[Item]]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return (same for same in groups.values() if len(same) > 1)
