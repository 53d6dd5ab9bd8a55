"""Spellings of one patient: what counts as the same name, and what may be the same person.

Names that differ in Unicode form, kinds of dash, or blanks are one patient. Names that then differ
only in case stay two patients in one group, which no fold splits. Names that differ in separators,
leading zeros or look-alike letters stay apart, with a note.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable

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


def match_names(names: Iterable[str], others: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """The first of `others` that may name the same person, for each name that has one.

    True where the two are the same name, False where they are only similar (`find_similar`).
    """
    found: dict[str, tuple[str, bool]] = {}
    ordered, wanted = sorted(set(others), reverse=True), set(names)
    for is_same, key in ((True, fold_name), (False, _to_plain_text)):
        by_key = {key(other): other for other in ordered}
        for name in wanted - set(found):
            if (other := by_key.get(key(name))) is not None:
                found[name] = (other, is_same)
    exact = wanted & set(ordered)
    return found | {name: (name, True) for name in exact}


def _to_plain_text(name: str) -> str:
    text = re.sub(r"\.0$", "", fold_name(name).translate(LOOK_ALIKES))
    text = re.sub(r"(?<!\d)0+(?=\d)", "", text)
    return re.sub(r"(?<!\d)[\W_]+|[\W_]+(?!\d)", "", re.sub(r"[\W_]+", " ", text))


def _find_equal(names: Iterable[str], key: Callable[[str], str]) -> tuple[tuple[str, ...], ...]:
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        by_key[key(name)].append(name)
    return tuple(tuple(names) for names in by_key.values() if len(names) > 1)
