"""Texts of a run without names of files, folders, patients and machines."""

import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath, PureWindowsPath

HIDDEN = "…"
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|“[^”]*”")
PATH = re.compile(r"(?<!\S)(?!S/F\b)\S*[/\\]\S*")
FILE = re.compile(r"\b[\w.-]+\.[A-Za-z]\w{1,4}\b")
NAME = re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z_])[\w-]+")
WORD = re.compile(r"[\w.-]+\w|\w")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
PLACES = {
    "--data": "STORE", "--external": "STORE", "--over": "STORE", "--out": "RUN", "--splits": "FILE",
    "--weights": "WEIGHTS", "--address": "ADDRESS",
}  # fmt: skip
"""Options whose values name places, and what stands for them."""


class ReasonMask:
    """Removes the names of files from reasons of a ledger with these items."""

    def __init__(self, items: Iterable[str]) -> None:
        self.by_last_word: dict[str, set[str]] = {}
        for item in items:
            path = PurePosixPath(item)
            for name in (item, path.name, path.stem):
                if words := WORD.findall(name):
                    self.by_last_word.setdefault(words[-1], set()).add(name)

    def apply(self, text: str) -> str:
        """The reason with a mark for every quoted value, path and name, and N for every number."""
        for word in WORD.findall(text):
            for name in sorted(self.by_last_word.get(word, ()), key=len, reverse=True):
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", HIDDEN, text)
        for pattern in (QUOTED, PATH, FILE, NAME):
            text = pattern.sub(HIDDEN, text)
        return NUMBER.sub("N", text)


def portable_command(command: str) -> str:
    """A command with STORE, RUN and the like instead of paths."""
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: nothing of it can be trusted
        return ""
    written, option = [], ""
    for word in words:
        name, equals, _ = word.partition("=")
        if name in PLACES and equals:
            written.append(f"{name}={PLACES[name]}")
        elif option in PLACES:
            written.append(PLACES[option])
        elif word == "&&":
            written.append(word)
        else:
            written.append(_hide_folder(word))
        option = word
    return " ".join(written)


def _hide_folder(word: str) -> str:
    """The name of the file of a study, and nothing of another path."""
    if re.search(r"[/\\]", word):
        return PureWindowsPath(word).name if word.endswith(".py") else HIDDEN
    return shlex.quote(word)
