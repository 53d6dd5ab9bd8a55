"""Known names that are close to what somebody wrote, for error messages."""

import difflib
import re
from collections.abc import Collection, Iterable

from lus_ray.data.patient_names import fold_name

CUTOFF = 0.8
"""Least ratio of equal letters; see `difflib.SequenceMatcher.ratio`."""
GENERIC = frozenset(("id", "name", "number", "score", "grade", "type", "class", "label", "value"))
"""Words that people put behind a known name, as in "severity score"."""


def find_close_columns(name: str, known: Collection[str], header: Collection[str]) -> list[str]:
    """Known columns that `name` may stand for; all levels where it names a group of biomarkers.

    Case, blanks and punctuation do not count. Columns that the header lacks are close to their name
    with a generic word behind it, too.
    """
    letters = _letters(name)
    groups = {k: fold_name(k.partition(":")[0]) for k in known if ":" in k}
    if close := [k for k in known if _letters(k) == letters]:
        return close
    if close := [k for k, group in groups.items() if _letters(group) == letters]:
        return close
    absent = [k for k in known if k not in header]
    if close := [k for k in absent if letters in {_letters(k) + word for word in GENERIC}]:
        return close
    nearest = _find_closest(name.partition(":")[0], groups.values())
    levels = [k for k, group in groups.items() if group in nearest]
    return (":" not in name and levels) or _find_closest(name, known) or levels


def find_close_values(text: str, allowed: Collection[str]) -> list[str]:
    """Allowed values that contain `text`, or else the closest one; case does not count."""
    letters = _letters(text)
    parts = [value for value in allowed if len(letters) > 2 and letters in _letters(value)]
    return parts or _find_closest(text, allowed)


def did_you_mean(names: Collection[str]) -> str:
    """The end of an error message; empty without names."""
    return f"; did you mean {' or '.join(map(repr, names))}?" if names else ""


def _find_closest(text: str, known: Iterable[str]) -> list[str]:
    by_folded = {fold_name(name): name for name in known}
    close = difflib.get_close_matches(fold_name(text), by_folded, n=1, cutoff=CUTOFF)
    return [by_folded[name] for name in close]


def _letters(text: str) -> str:
    return re.sub(r"[^\w<>]|_", "", fold_name(text))
