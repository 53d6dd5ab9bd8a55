"""Event files for TensorBoard, read back record by record."""

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from lus_ray.errors import CellError
from lus_ray.monitoring.tensorboard import TensorBoardWriter
from lus_ray.runs.cell import Cell
from lus_ray.runs.layout import RunFolder


def points(folder: Path) -> list[tuple[str, int, float]]:
    """Name, epoch and value of every point in the event files of a folder."""
    values = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:  # a record: its length, a checksum, the event, a checksum
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            values += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            data = data[16 + length :]
    return values


def test_every_finite_value_of_an_epoch_is_a_point(tmp_path):
    cell = Cell("e2e severity", 1)
    with TensorBoardWriter(RunFolder(tmp_path)) as writer:
        writer.on_start(cell)
        for epoch in range(2):
            values = {"train_loss": 0.5, "val_score": 0.25 * epoch, "pid": 7}
            writer.on_report(cell, {"epoch": epoch, **values})
        writer.on_report(cell, {"epoch": 2, "train_loss": 0.5, "val_score": float("nan")})
        writer.on_report(cell, {"finished": 1, "val_score": 0.9})
        writer.on_end(cell, error=None)
    assert points(tmp_path / "tensorboard" / "e2e-severity" / "fold1") == [
        ("train_loss", 0, 0.5), ("val_score", 0, 0.0), ("train_loss", 1, 0.5),
        ("val_score", 1, 0.25), ("train_loss", 2, 0.5),
    ]  # fmt: skip


def test_a_restarted_cell_continues_in_another_file(tmp_path):
    cell = Cell("a", 0)
    with TensorBoardWriter(RunFolder(tmp_path)) as writer:
        for epoch in (0, 1):
            writer.on_start(cell)
            writer.on_report(cell, {"epoch": epoch, "val_score": 0.5})
    folder = writer.folder(cell)
    assert len(list(folder.glob("events.*"))) == 2
    assert points(folder) == [("val_score", 0, 0.5), ("val_score", 1, 0.5)]
    sample = tmp_path / "tensorboard" / "a" / "fold0" / "sample3"
    assert writer.folder(Cell("a", 0, 3)) == sample


def test_files_are_uploaded_at_the_end_and_storage_may_be_unreachable(tmp_path, monkeypatch):
    uploaded = []

    def upload(folder, name):
        uploaded.append(len(points(writer.folder(Cell("a", 0)))))
        raise CellError("the storage does not answer")

    monkeypatch.setattr(RunFolder, "upload", upload)
    with TensorBoardWriter(RunFolder(tmp_path)) as writer:
        writer.on_report(Cell("a", 0), {"epoch": 0, "val_score": 0.5})
    assert uploaded == [1]
