"""One's own cohort, by command: a few public clips from a folder to a test on other patients."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lus_ray.clip import BIOMARKERS, frames_of
from lus_ray.data import store as stores
from lus_ray.data.ingest import pocovid
from lus_ray.data.ingest.pipeline import ingest
from lus_ray.data.ledger import Ledger
from tests.planted import cropped, mirrored
from tests.serve.service import to_video

pytestmark = [pytest.mark.ray, pytest.mark.full]

KINDS = (("healthy", None), ("COVID-19 pneumonia", None), ("other lung disease", "bacterial"))
SIGNS = ("A-lines: none", "B-lines: none", "consolidation: none", "effusion: none")


@pytest.fixture(scope="module")
def public_clips(shared_data):
    """Clips of POCOVID as its reader lists them, one of each patient, by disease and etiology."""
    found = {kind: {} for kind in KINDS}
    for clip in pocovid.clips(shared_data / "pocovid", Ledger()):
        kind = (clip["disease"], clip.get("etiology"))
        if clip["patient"] and clip["file"].suffix in (".mp4", ".avi") and kind in found:
            found[kind].setdefault(clip["patient"], clip)
    return {kind: list(clips.values()) for kind, clips in found.items()}


def write_folder(folder, clips):
    """A folder with links to these clips and a table of their labels."""
    folder.mkdir()
    table = []
    for number, clip in enumerate(clips):
        name = f"scan{number}{clip['file'].suffix}"
        (folder / name).symlink_to(clip["file"])
        signs = dict(zip(BIOMARKERS, clip["biomarkers"] or [-1] * len(BIOMARKERS), strict=True))
        table.append(
            {
                "file": name,
                "patient": clip["patient"].partition("/")[2],
                "disease": clip["disease"],
                "etiology": clip.get("etiology") or "",
                **{sign: "" if signs[sign] < 0 else str(signs[sign]) for sign in SIGNS},
            }
        )
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder


def test_twelve_clips_go_from_a_folder_to_a_test_on_others(lus, public_clips, tmp_path):
    few = write_folder(tmp_path / "few", [c for own in public_clips.values() for c in own[:4]])
    others = [c for own in public_clips.values() for c in own[4:6]]
    store, other = tmp_path / "store", tmp_path / "other"

    def run(*words, timeout=900):
        result = lus(*words, timeout=timeout)
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("ingest", "folder", few, store)
    assert "classify" in run("check", store)
    for study, more in (("classify", ("--label", "disease")), ("biomarkers", ())):
        out = tmp_path / study
        text = run("run", study, "--data", store, "--size", "smoke", "--out", out, *more)
        assert "too small to decide" in text
        table = tmp_path / f"{study}.parquet"
        run("predict", few, "--run", out, "--out", table)
        rows = pq.read_table(table).to_pylist()
        assert len(rows) == 12
        assert not any(row["error"] for row in rows)
    run("ingest", "folder", write_folder(tmp_path / "next", others), other)
    text = run("evaluate", tmp_path / "classify", "--data", other)
    assert f"{len(others)} patients" in text


def test_copies_of_training_clips_are_left_out_of_an_external_test(lus, shared_data, tmp_path):
    store, other = tmp_path / "covid_blues", tmp_path / "pocovid"
    ingest("covid_blues", shared_data / "covid_blues", store)
    ingest("pocovid", shared_data / "pocovid", other)
    copies = tmp_path / "copies"
    write_copies(store, copies)
    ingest("folder", copies, other)
    run = ("run", "classify", "--label", "severity", "--data", store, "--size", "smoke")
    trained = lus(*run, "--out", tmp_path / "run", timeout=900)
    assert trained.returncode == 0, trained.stderr
    result = lus("evaluate", tmp_path / "run", "--data", other, timeout=900)
    assert result.returncode == 0, result.stderr
    left_out = result.stdout + result.stderr
    assert all(f"folder/visitor{number}" in left_out for number in range(3))


def write_copies(store: Path, folder: Path) -> None:
    """Three clips of a store as videos of other patients: re-encoded, cropped, mirrored."""
    folder.mkdir()
    lines, rng = ["file,patient,severity"], np.random.default_rng(3)
    names = stores.read_index(store, ("clip",))["clip"].to_pylist()[::60][:3]
    for number, row in enumerate(stores.read(store, names)):
        change = (lambda frames, rng: frames, cropped, mirrored)[number]
        frames = change(frames_of(row)[:40], rng)
        height, width = (size // 2 * 2 for size in frames.shape[1:])
        copy = to_video(np.ascontiguousarray(frames[:, :height, :width]))
        (folder / f"copy{number}.mp4").write_bytes(copy)
        lines.append(f"copy{number}.mp4,visitor{number},0")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
