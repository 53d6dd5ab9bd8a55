"""Spellings of one patient: what counts as the same name, and what may be the same person.

Names that differ in Unicode form, kinds of dash, or blanks are one patient. Names that then differ
only in case stay two patients in one group, which no fold splits. Names that differ in separators,
leading zeros or look-alike letters stay apart, with a note.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.conflicts import name_item
from lus_ray.data.ledger import Ledger

MINUS = "\u2212"
IGNORED = frozenset("\u034f\ufe0e\ufe0f")
"""Marks without a shape of their own, beside those of category Cf (zero-width, soft hyphen)."""
LOOK_ALIKES = str.maketrans("авекмнорстухіјѕαβεικνορτυχ", "abekmhopctyxijsabeiknoptux")
"""Cyrillic and Greek letters that look like Latin ones, after casefold."""


def normalize_name(name: str) -> str:
    """NFKC with one kind of dash, one blank between words, and no invisible characters."""
    characters = []
    for character in unicodedata.normalize("NFKC", name):
        category = unicodedata.category(character)
        if category == "Pd" or character == MINUS:
            characters.append("-")
        elif category != "Cf" and character not in IGNORED:
            characters.append(character)
    return unicodedata.normalize("NFKC", " ".join("".join(characters).split()))


def fold_name(name: str) -> str:
    """Equal for names that share a group."""
    return unicodedata.normalize("NFKC", normalize_name(name).casefold())


def find_same(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Sets of names that differ only in case, blanks, dashes or Unicode form."""
    return _find_equal(names, fold_name)


def find_similar(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Sets of names that differ in separators, leading zeros or look-alike letters as well."""
    smallest = {fold_name(name): name for name in sorted(set(names), reverse=True)}
    return _find_equal(smallest.values(), _to_plain_text)


def unify_patients(
    items: Iterable[dict[str, Any]], source: str, ledger: Ledger, root: Path | None = None
) -> list[dict[str, Any]]:
    """Give each patient of the items one spelling, and keep the clips of a patient together.

    Names with control or lost characters are skipped. The ledger notes each name that was changed
    and all names that may be those of one person.
    """
    by_patient: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        written = item["patient"] or ""
        name = normalize_name(written)
        if bad := [c for c in name if unicodedata.category(c) == "Cc" or c == "\ufffd"]:
            reason = f"patient {written!a} holds the character {bad[0]!a}; write the name"
            ledger.skip(source, name_item(item, root), f"{reason} again")
            continue
        item["patient"] = None if name in ("", f"{source}/") else name
        if item["patient"] and name != written:
            reason = f"patient {written!a} counts as {name!r}: unified blanks, dashes and letters"
            ledger.note(source, item["clip"], reason)
        if item.get("group"):
            item["group"] = normalize_name(item["group"])
        by_patient[item["patient"] or item["clip"]].append(item)
    names = [name for name, group in by_patient.items() if group[0]["patient"]]
    for first, *others in find_same(names):
        for other in others:
            ledger.note(source, other, f"differs from {first!r} only in case: kept in one group")
    for first, *others in find_similar(names):
        for other in others:
            reason = f"may be the same patient as {first!r}: kept apart; write one name if it is"
            ledger.note(source, other, reason)
    return [item for group in by_patient.values() for item in group]


def _to_plain_text(name: str) -> str:
    text = re.sub(r"\.0$", "", fold_name(name).translate(LOOK_ALIKES))
    text = re.sub(r"(?<!\d)0+(?=\d)", "", text)
    return re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", text)


def _find_equal(names: Iterable[str], key: Callable[[str], str]) -> tuple[tuple[str, ...], ...]:
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        by_key[key(name)].append(name)
    return tuple(tuple(names) for names in by_key.values() if len(names) > 1)
