"""Known columns that are close to what a table names, for error messages."""

import re
from collections.abc import Collection

from lus_ray.data.patient_names import fold_name
from lus_ray.suggestions import find_nearest

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
    nearest = find_nearest(name.partition(":")[0], groups.values())[:1]
    levels = [k for k, group in groups.items() if group in nearest]
    return (":" not in name and levels) or find_nearest(name, known)[:1] or levels


def _letters(text: str) -> str:
    return re.sub(r"[^\w<>]|_", "", fold_name(text))
