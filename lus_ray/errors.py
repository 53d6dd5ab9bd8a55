"""Every error a user can meet, and the exit code it ends with.

LusError                      exit 1: something failed
├── InputError                exit 2: what was asked for, or given, cannot be used
│   ├── SchemaError           a clip row does not fit the schema
│   ├── StoreError            a store is missing, damaged or of another version
│   ├── SourceError           a data source lacks a file, a column, a value
│   ├── DecodeError           one video or image cannot be decoded within the limits
│   ├── FoldError             folds cannot be dealt, or put one patient on two sides
│   ├── ArmError              an experiment does not hold together
│   ├── CheckpointError       a checkpoint is unsafe, incomplete or does not fit
│   ├── PlanError             the cluster can never run what was asked for
│   └── ServeError            what is in a run folder cannot be served
├── CellError                 a cell failed while it ran
└── FetchError                a published file could not be fetched

A message is one line: what is wrong, where (file, row, key), and what to do.
"""

from typing import Literal


class LusError(Exception):
    """Base of every error that lus_ray raises on purpose; the command exits with 1."""

    exit_code = 1


class InputError(LusError):
    """Bad input; the command exits with 2."""

    exit_code = 2


class SchemaError(InputError):
    """A clip row does not fit the schema."""


class StoreError(InputError):
    """A store is missing, damaged or of another version."""


class SourceError(InputError):
    """A data source lacks a file, a column or a value that its reader needs."""


class DecodeError(InputError):
    """One video or image cannot be decoded within the limits.

    `kind` says what is to blame: "unreadable" bytes; a clip that is "refused" for what it holds or
    costs; or neither, as the process that read it was "lost" and may do better with it again.
    """

    def __init__(
        self, text: str, kind: Literal["unreadable", "refused", "lost"] = "unreadable"
    ) -> None:
        super().__init__(text)
        self.kind = kind


class FoldError(InputError):
    """Folds cannot be dealt, or a plan puts one patient on two sides."""


class ArmError(InputError):
    """An experiment does not hold together: an unknown arm, a wrong setting."""


class CheckpointError(InputError):
    """A checkpoint is unsafe, incomplete or does not fit its network."""


class PlanError(InputError):
    """The cluster can never run what was asked for."""


class ServeError(InputError):
    """What is in a run folder cannot be served: no model, no stored clips, other answers."""


class CellError(LusError):
    """A cell failed while it ran."""


class FetchError(LusError):
    """A published file could not be fetched, or is not the one that was published."""
