"""Rows of clips from the files that a reader lists: decoded, labelled and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lus_ray import clip
from lus_ray.data.decoding.decoder import DecodedVideo, FileDecoder
from lus_ray.data.duplicates.signature import compute_signature
from lus_ray.data.ingest.conflicts import name_item
from lus_ray.data.ledger import Ledger
from lus_ray.errors import DecodeError, SchemaError, SourceError


@dataclass
class FileClips:
    """Makes the rows of a source below `root`, one file after another."""

    source: str
    root: Path | None
    decoder: FileDecoder

    def make_row(self, item: Mapping[str, Any], ledger: Ledger) -> clip.Row | None:
        """The row of an item of the reader; None for one that the ledger lists as skipped."""
        columns = {"source": self.source, **item}
        file, allow_text = columns.pop("file"), columns.pop("allow_text", False)
        try:
            decoded = self.decoder.decode(file, allow_text=allow_text)
            row = clip.make_row(**_add_decoded(columns, decoded))
        except (DecodeError, SchemaError, SourceError) as error:
            ledger.skip(self.source, name_item(dict(item), self.root), str(error))
            return None
        for note in decoded.notes:
            write = ledger.repair if note.startswith("repaired") else ledger.note
            write(self.source, row["clip"], note)
        return row

    def stop(self) -> None:
        self.decoder.stop()

    def close(self) -> None:
        self.decoder.close()


def _add_decoded(columns: dict[str, Any], decoded: DecodedVideo) -> dict[str, Any]:
    columns["frames"] = decoded.frames
    if grades := columns.get("frame_severity"):
        columns["frame_severity"] = decoded.drop_removed(grades)
    if callable(columns.get("masks")):
        columns["masks"] = columns["masks"](decoded)
    if columns.get("fps") is None:
        columns["fps"] = decoded.fps
    if columns.get("mm_per_pixel") is not None:
        columns["mm_per_pixel"] /= decoded.scale
    else:
        columns["mm_per_pixel"] = decoded.mm_per_pixel
    columns["signature"] = compute_signature(decoded.frames)
    return columns
