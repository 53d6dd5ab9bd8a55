"""Known names near to one that does not exist, for the end of an error message."""

import difflib
import re
import unicodedata
from collections.abc import Iterable

MOST = 5
"""Names that a message lists."""
CUTOFF = 0.8
"""Least ratio of equal letters; see `difflib.SequenceMatcher.ratio`."""


def suggest(text: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: close names, else a few of those that exist."""
    names = list(known)
    if close := find_close(text, names):
        return did_you_mean(close)
    if len(names) > MOST:
        nearest = ", ".join(map(repr, find_nearest(text, names, cutoff=0.0)))
        return f"; the nearest of {len(names)} names are {nearest}"
    return f"; known: {', '.join(map(repr, names))}" if names else ""


def find_close(text: str, known: Iterable[str]) -> list[str]:
    """Names that contain the text or nearly equal it, the nearest first; case does not count."""
    names, letters = list(known), _letters(text)
    parts = [name for name in names if len(letters) > 2 and letters in _letters(name)]
    close = find_nearest(text, names)
    return [*close, *(name for name in parts if name not in close)][:MOST]


def find_nearest(text: str, known: Iterable[str], *, cutoff: float = CUTOFF) -> list[str]:
    """Names with at least this ratio of equal letters, the nearest first."""
    by_folded = {_fold(name): name for name in known}
    close = difflib.get_close_matches(_fold(text), by_folded, n=MOST, cutoff=cutoff)
    return [by_folded[name] for name in close]


def did_you_mean(names: Iterable[str]) -> str:
    """The end of a message; empty without names."""
    quoted = [repr(name) for name in names]
    if not quoted:
        return ""
    listed = " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
    return f"; did you mean {listed}?"


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _letters(text: str) -> str:
    return re.sub(r"[^\w<>]|_", "", _fold(text))
