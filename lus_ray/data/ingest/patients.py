"""One spelling for each patient of a source, before its clips are decoded."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lus_ray.data.ingest.conflicts import name_item
from lus_ray.data.ledger import Ledger
from lus_ray.data.patient_names import find_same, find_similar, normalize_name

NO_NAMES = frozenset(("na", "n/a", "<na>", "#n/a", "nan", "null", "none", "unknown", "-", "?", "."))
"""Texts for a missing value; all clips that have one would count as those of one person."""


def unify_patients(
    items: Iterable[dict[str, Any]], source: str, ledger: Ledger, root: Path | None = None
) -> list[dict[str, Any]]:
    """Give each patient of the items one spelling, and keep the clips of a patient together.

    Names with control or lost characters are skipped, and so are texts for an unknown name. The
    ledger notes each name that was changed and all names that may be those of one person.
    """
    by_patient: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        written = item["patient"] or ""
        name = normalize_name(written)
        reason = ""
        if bad := [c for c in name if unicodedata.category(c) == "Cc" or c == "\ufffd"]:
            reason = f"patient {written!a} holds the character {bad[0]!a}; write the name again"
        elif name.removeprefix(f"{source}/").casefold() in NO_NAMES:
            reason = f"patient {written!a} means an unknown name; write a name, or leave it empty"
        if reason:
            ledger.skip(source, name_item(item, root), reason)
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
