import json
import re

import pytest

from lus_ray import figures
from lus_ray.errors import StoreError
from lus_ray.evaluation import results
from lus_ray.report import galleries
from tests.evaluation.run_folders import arm, write_cell, write_pictures, write_run
from tests.report.conftest import write_without_charts
from tests.report.pages import read_section

ONE, TWO = arm("one"), arm("two")
EXAMPLES = [{"example": "p0#0", "caption": "score 0"}, {"example": "p1#1", "caption": "score 1"}]


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path, [ONE, TWO])
    for fold in (0, 1):
        for entry in (ONE, TWO):
            write_cell(tmp_path, entry, fold)
    return results.read(tmp_path)


def test_pictures_are_of_the_fold_in_which_most_arms_have_some(run):
    assert galleries.read_gallery(run) is None
    for entry, fold, pictures in ((ONE, 0, EXAMPLES), (ONE, 1, EXAMPLES), (TWO, 1, EXAMPLES[1:])):
        write_pictures(run.out, entry, fold, pictures)
    first, second = (galleries.Picture("<svg></svg>", f"score {k}") for k in (0, 1))
    rows = (("p0#0", (first, None)), ("p1#1", (second, second)))
    assert galleries.read_gallery(run) == galleries.Gallery(1, ("one", "two"), rows)


def test_masks_and_attention_are_two_galleries(run):
    masks = [{**own, "kind": "masks"} for own in EXAMPLES]
    for entry in (ONE, TWO):
        write_pictures(run.out, entry, 0, [*masks, {"example": "a#0", "caption": ""}])
    for kind, names in ((galleries.MASKS, ["p0#0", "p1#1"]), (galleries.ATTENTION, ["a#0"])):
        gallery = galleries.read_gallery(run, kind)
        assert (gallery.arms, [name for name, _ in gallery.rows]) == (("one", "two"), names)


def entry_of(**changes):
    return json.dumps([{"file": "0.svg", "example": "a#0", "caption": "", **changes}])


@pytest.mark.parametrize(
    ("captions", "reason"),
    [
        *((text, ".*") for text in ("{", "[1]", '[{"file": "0.svg"}]', '{"file": 1}')),
        *(
            (entry_of(file=file), ".* not an SVG file of this folder")
            for file in ("../0.svg", "captions.json", "/etc/hostname.svg")
        ),
        (entry_of(file="absent.svg"), ".* No such file"),
        (entry_of(kind="mask"), "unknown kind 'mask'; expected one of looks, inputs, masks, exp"),
    ],
)
def test_damaged_captions_and_outside_pictures_are_refused_by_file(run, captions, reason):
    folder = write_pictures(run.out, ONE, 0, EXAMPLES)
    (folder / "captions.json").write_text(captions)
    with pytest.raises(StoreError, match=rf"captions\.json: not readable \({reason}"):
        galleries.read_gallery(run)


def write_blines(out, entry, *, num_examples=2):
    captions = {"expert": "covid", "outlines": "Dice 0.61", "translations": "covid as cap"}
    pictures = [
        {"example": f"p{number}#0", "caption": caption, "kind": kind}
        for number in range(num_examples)
        for kind, caption in captions.items()
    ]
    write_pictures(out, entry, 0, pictures)


def test_the_expert_stands_once_per_example_before_the_arms(run):
    write_blines(run.out, ONE)
    write_blines(run.out, TWO, num_examples=1)
    gallery = galleries.read_segmentations(run)
    assert gallery.arms == ("expert", "one", "two")
    captions = [[own and own.caption for own in pictures] for _, pictures in gallery.rows]
    assert captions == [["covid", "Dice 0.61", "Dice 0.61"], ["covid", "Dice 0.61", None]]
    write_without_charts(run.out)
    shown = read_section(run.out, "clips")
    blines = shown[: shown.index("Frames translated")]
    assert re.findall(r'alt="([^"]*)"', blines) == [
        "expert: covid", "one: Dice 0.61", "two: Dice 0.61", "expert: covid", "one: Dice 0.61",
    ]  # fmt: skip
    assert re.findall(r"<h4>([^<]*)", blines) == ["p0#0", "p1#0"]
    assert figures.EXPERT[0] in blines
    assert "fold 0" in blines
    assert shown[len(blines) :].count("<img") == 3
    assert "Predicted masks" not in shown


def test_masks_without_an_expert_stand_alone(run):
    write_pictures(run.out, TWO, 0, [{**EXAMPLES[0], "kind": "outlines"}])
    assert galleries.read_segmentations(run).arms == ("two",)
