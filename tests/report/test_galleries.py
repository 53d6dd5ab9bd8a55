"""Pictures of cells: one fold, examples by arms, and nothing that lies elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lus_ray import figures, report
from lus_ray.errors import StoreError
from lus_ray.evaluation import results
from lus_ray.report import galleries
from tests.evaluation.frame_run import FRAMES, LEAKY, fan, write_frame_run, write_pictures
from tests.evaluation.mask_run import BLINES, DENSE, UNET, outlined, write_outlines, write_pixel_run
from tests.evaluation.run_folders import slug_of


def test_the_grid_is_of_the_fold_in_which_most_arms_have_pictures(tmp_path: Path) -> None:
    write_frame_run(tmp_path)
    write_pictures(tmp_path, FRAMES, 0, heat=False)
    write_pictures(tmp_path, FRAMES, 1, heat=False)
    write_pictures(tmp_path, LEAKY, 1, heat=True)
    found = galleries.read_gallery(results.read(tmp_path))
    assert found is not None
    assert (found.fold, found.arms) == (1, ("frames", "frames, all patients"))
    assert [name for name, _ in found.rows] == ["phantom/p00-0#0", "phantom/p01-0#1"]
    looked = found.rows[0][1][0]
    assert looked is not None
    assert looked.svg.startswith("<svg")
    assert looked.caption == "score 0, said 2 with probability 0.61"


def test_an_example_that_an_arm_has_no_picture_of_leaves_a_hole(tmp_path: Path) -> None:
    write_frame_run(tmp_path, folds=[0])
    for entry in (FRAMES, LEAKY):
        folder = write_pictures(tmp_path, entry, 0, heat=True)
    captions = json.loads((folder / "captions.json").read_text())
    (folder / "captions.json").write_text(json.dumps(captions[1:]))
    found = galleries.read_gallery(results.read(tmp_path))
    assert found is not None
    assert [looked[1] is None for _, looked in found.rows] == [True, False]


def test_a_run_without_pictures_has_no_grid(tmp_path: Path) -> None:
    assert galleries.read_gallery(results.read(write_frame_run(tmp_path, folds=[0]))) is None


@pytest.mark.parametrize("name", ["../0.svg", "absent.svg", "captions.json", "/etc/hostname.svg"])
def test_a_picture_that_is_not_beside_its_caption_is_refused(tmp_path: Path, name: str) -> None:
    write_frame_run(tmp_path, folds=[0])
    folder = write_pictures(tmp_path, FRAMES, 0, heat=False)
    entry = {"file": name, "example": "a#0", "caption": ""}
    (folder / "captions.json").write_text(json.dumps([entry]))
    with pytest.raises(StoreError, match=r"captions\.json: not readable .*; remove the folder"):
        galleries.read_gallery(results.read(tmp_path))


@pytest.mark.parametrize("text", ["{", "[1]", '[{"file": "0.svg"}]', '{"file": 1}'])
def test_damaged_captions_are_refused_by_file(tmp_path: Path, text: str) -> None:
    write_frame_run(tmp_path, folds=[0])
    folder = write_pictures(tmp_path, FRAMES, 0, heat=False)
    (folder / "captions.json").write_text(text)
    with pytest.raises(StoreError, match=r"captions\.json: not readable"):
        galleries.read_gallery(results.read(tmp_path))


def test_outlines_and_looks_are_two_grids(tmp_path: Path) -> None:
    write_pixel_run(tmp_path, folds=[0])
    for entry in (UNET, DENSE):
        write_outlines(tmp_path, entry, 0)
    run = results.read(tmp_path)
    outlined, looked = galleries.read_gallery(run, galleries.MASKS), galleries.read_gallery(run)
    assert outlined is not None
    assert looked is not None
    assert outlined.arms == looked.arms == ("U-Net", "dense")
    assert [name for name, _ in outlined.rows] == ["phantom/p00-0#0", "phantom/p01-0#1"]
    assert [name for name, _ in looked.rows] == ["a#0"]


def test_looks_alone_leave_no_grid_of_outlines(tmp_path: Path) -> None:
    write_frame_run(tmp_path, folds=[0])
    write_pictures(tmp_path, FRAMES, 0, heat=False)
    assert galleries.read_gallery(results.read(tmp_path), galleries.MASKS) is None


def test_a_picture_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    write_frame_run(tmp_path, folds=[0])
    folder = write_pictures(tmp_path, FRAMES, 0, heat=False)
    entry = {"file": "0.svg", "example": "a#0", "caption": "", "kind": "mask"}
    (folder / "captions.json").write_text(json.dumps([entry]))
    with pytest.raises(
        StoreError, match="kind 'mask' is none of looks, masks, expert, outlines, translations"
    ):
        galleries.read_gallery(results.read(tmp_path))


def write_blines(out: Path, entry: dict[str, Any], *, num_examples: int = 2) -> None:
    """Pictures of B-lines of fold 0: the expert's outline, the arm's, and a translation."""
    folder = out / "cells" / slug_of(entry) / "fold0" / "pictures"
    folder.mkdir(parents=True)
    frame, lines = fan(seed=0), outlined(2, 0) == 1
    row = [("covid frame", frame), ("as cap", frame), ("back", frame)]
    svgs = {
        "expert": (figures.draw_segmentations(frame, lines, {}), "covid"),
        "outlines": (
            figures.draw_segmentations(frame, lines, {"arm": outlined(2, 9) == 1}),
            "Dice 0.61",
        ),
        "translations": (figures.draw_translations([row]), "covid as cap"),
    }
    captions = []
    for number in range(num_examples):
        for kind, (svg, caption) in svgs.items():
            name = f"{number}-{kind}.svg"
            (folder / name).write_text(svg)
            known = {"file": name, "example": f"phantom/p{number}#0", "kind": kind}
            captions.append({**known, "caption": caption})
    (folder / "captions.json").write_text(json.dumps(captions))


def test_the_expert_stands_before_the_arms_once_an_example(tmp_path: Path) -> None:
    write_pixel_run(tmp_path, folds=[0])
    write_blines(tmp_path, BLINES, num_examples=1)
    write_blines(tmp_path, UNET)
    found = galleries.read_segmentations(results.read(tmp_path))
    assert found is not None
    assert found.arms == ("expert", "U-Net", "B-lines")
    captions = [[one and one.caption for one in looked] for _, looked in found.rows]
    assert captions == [["covid", "Dice 0.61", "Dice 0.61"], ["covid", "Dice 0.61", None]]


def test_outlines_without_an_expert_stand_alone(tmp_path: Path) -> None:
    write_pixel_run(tmp_path, folds=[0])
    write_blines(tmp_path, BLINES)
    path = tmp_path / "cells" / slug_of(BLINES) / "fold0" / "pictures" / "captions.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([entry for entry in entries if entry.kind != "expert"]))
    found = galleries.read_segmentations(results.read(tmp_path))
    assert found is not None
    assert found.arms == ("B-lines",)


def test_the_page_shows_b_lines_and_translations_of_every_arm_that_has_them(tmp_path: Path) -> None:
    write_pixel_run(tmp_path, folds=[0])
    write_blines(tmp_path, UNET, num_examples=1)
    write_blines(tmp_path, BLINES)
    report.write(tmp_path, num_draws=10)
    text = (tmp_path / "report.html").read_text()
    blines, translated = (
        text[text.index(f'<h2 id="{name}"') :].split("</section>")[0]
        for name in ("blines", "translated")
    )
    assert re.findall(r'alt="([^"]*)"', blines) == [
        "expert: covid", "U-Net: Dice 0.61", "B-lines: Dice 0.61",
        "expert: covid", "B-lines: Dice 0.61",
    ]  # fmt: skip
    assert re.findall(r"<h3>([^<]*)", blines) == ["phantom/p0#0", "phantom/p1#0"]
    assert figures.EXPERT[0] in blines
    assert "fold 0" in blines
    assert translated.count("<img") == 3
    assert 'href="#blines"' in text
    assert 'href="#translated"' in text
    assert 'id="outlined"' not in text
