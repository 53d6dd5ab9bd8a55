import numpy as np
import pytest

from lus_ray.data.decoding.decoder import FileDecoder
from lus_ray.data.ingest.pipeline import ingest
from tests.fuzz.__main__ import known_seeds
from tests.fuzz.example import quick_ingests, run_example
from tests.fuzz.invariants import Outcome, check, read_store
from tests.fuzz.pictures import (
    EXACT,
    STILLS,
    SYNTAXES,
    VIDEOS,
    block_means,
    paint,
    read_bits,
    write,
)
from tests.fuzz.sources import make_source


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_ingests():
        yield


@pytest.fixture(scope="module")
def decoder():
    with FileDecoder() as shared:
        yield shared


@pytest.mark.slow
@pytest.mark.parametrize("seed", known_seeds())
def test_a_known_seed_breaks_no_invariant(seed, tmp_path):
    outcome, steps = run_example(seed, tmp_path)
    assert not outcome.failures, steps


@pytest.mark.slow
def test_the_invariants_hold_for_a_sound_store_and_fail_for_every_kind_of_fault(tmp_path):
    source = make_source("folder", tmp_path / "root", np.random.default_rng(2))
    store = tmp_path / "store"
    ingest("folder", source.root, store, workers=1)

    def failures(rows):
        check(source, rows, store, outcome := Outcome())
        return " ".join(line.partition(":")[0] for line in outcome.failures)

    first, *others = read_store(store)
    assert failures([first, *others]) == ""
    assert failures(others) == "completeness"
    assert failures([first | {"severity": 2 if first["severity"] == 1 else 1}, *others]) == "labels"
    assert failures([first | {"patient": "folder/P-9"}, *others]) == "patient"
    assert "groups" in failures([first | {"group": "folder/P-9"}, *others])
    assert failures([first | {"frames": first["frames"][::-1]}, *others]) == "pixels"
    assert failures([first | {"frames": first["frames"][1:]}, *others]) == "pixels"
    pixels = {name: others[-1][name] for name in ("frames", "masks", "mask_scheme")}
    assert "identity" in failures([first | pixels, *others])


@pytest.mark.parametrize("form", [*VIDEOS, *STILLS, *SYNTAXES, "gif"])
def test_a_picture_names_its_file_and_frames_in_every_format(form, decoder, tmp_path):
    picture = paint(0x5A, form, np.random.default_rng(0))
    write(picture, tmp_path / f"clip.{form}")
    frames = decoder.decode(tmp_path / f"clip.{form}").frames
    assert set(read_bits(frames, 0)) == {0x5A}
    assert read_bits(frames, 2) == list(range(len(picture.frames)))
    assert np.abs(block_means(frames) - block_means(picture.frames)).max() < 2
    assert form not in EXACT or np.array_equal(frames, picture.frames)
