"""Every error that a user can meet, with its exit code.

A message is one line: what is wrong, where (file, row, key), and what to do.
"""

from typing import Literal


class LusError(Exception):
    """Base of all errors of lus_ray; the command exits with 1."""

    exit_code = 1


class InputError(LusError):
    """The command or its input cannot be used; the command exits with 2."""

    exit_code = 2


class SchemaError(InputError):
    """A clip row does not fit the schema."""


class StoreError(InputError):
    """A store is missing, damaged or of another version."""


class SourceError(InputError):
    """A data source lacks a file, a column or a value that its reader needs."""


class SkippedError(SourceError):
    """Items of a source were skipped where none may be; `items` has a line for each."""

    def __init__(self, text: str, items: list[str]) -> None:
        super().__init__(text)
        self.items = items


class DecodeError(InputError):
    """One video or image cannot be decoded within the limits.

    `kind` is the cause: "unreadable" bytes; a clip "refused" for its content or its cost; or a
    decoding process that was "lost", where a second attempt may succeed.
    """

    def __init__(
        self, text: str, kind: Literal["unreadable", "refused", "lost"] = "unreadable"
    ) -> None:
        super().__init__(text)
        self.kind = kind


class FoldError(InputError):
    """Folds cannot be assigned, or put a patient in two splits."""


class ArmError(InputError):
    """An experiment is inconsistent: an unknown arm, a wrong setting."""


class CheckpointError(InputError):
    """A checkpoint is unsafe, incomplete or does not fit its network."""


class PlanError(InputError):
    """The cluster can never run what was requested."""


class ServeError(InputError):
    """A run folder cannot be served: no model, no stored clips, or other predictions."""


class CellError(LusError):
    """A cell failed while it ran."""


class ControlError(LusError):
    """A control fails: a method does not do what its world is made for."""


class FetchError(LusError):
    """A published file could not be fetched, or is not the one that was published."""
