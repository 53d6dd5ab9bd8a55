"""Pictures of what a network saw: examples that nobody picked, and one file for each."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from lus_ray import figures
from lus_ray.data.loading.batches import InMemory
from lus_ray.data.transforms.view import View
from lus_ray.nets import FrameCNN, PositionPrior, RegSTN, ReverseTransfer, UNet
from lus_ray.nets.sifa import SifaSegmenter
from lus_ray.runs import example_images
from lus_ray.tasks import FrameDiagnosis, FrameScore, Segmentation
from lus_ray.tasks.sifa import Sifa
from tests.figures.svg import images

VIEW = View(num_frames=1, height=40, width=48, num_samples=0)
TASK = FrameScore(partial(FrameCNN, width=8), view=VIEW)


def row(clip, patient, scores, split="test"):
    return {"clip": clip, "patient": patient, "frame_severity": scores, "split": split}


def chosen(*rows):
    return [(one["clip"], frame) for one, frame in example_images.select_examples(TASK, rows)]


def test_there_is_a_frame_for_each_score_that_occurs_in_the_order_of_the_scores():
    assert chosen(row("a", "p", [3, 3, 0]), row("b", "q", [2])) == [("a", 2), ("b", 0), ("a", 1)]


def test_the_frame_is_the_middle_one_of_those_with_its_score():
    assert chosen(row("a", "p", [1, 1, 0, 1, 1, 1])) == [("a", 2), ("a", 3)]


def test_patients_are_shown_in_turn_by_the_names_of_their_clips():
    rows = [row(f"c{n}", f"p{n}", [0, 1, 2, 3]) for n in reversed(range(4))]
    assert chosen(*rows) == [("c0", 0), ("c1", 1), ("c2", 2), ("c3", 3)]


def test_a_patient_is_shown_again_only_where_no_other_has_the_score():
    rows = [row("a", "p", [0, 1]), row("b", "p", [1]), row("c", "q", [1])]
    assert chosen(*rows) == [("a", 0), ("c", 0)]
    assert chosen(*rows[:2]) == [("a", 0), ("a", 1)]


def test_clips_that_are_not_tested_or_not_scored_are_never_shown():
    rows = [row("a", "p", [0], "train"), row("b", "q", [0], "val"), row("c", "r", None)]
    assert chosen(*rows) == []


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    rows = [row(f"t/c{n}", f"t/p{n}", [n, n, 3]) for n in range(3)]
    frames = {one["clip"]: rng.integers(0, 255, (3, 40, 48), np.uint8) for one in rows}
    return rows, InMemory({(40, 48): frames})


@pytest.mark.parametrize("net", [FrameCNN, RegSTN])
def test_every_example_has_a_file_and_a_caption_that_says_what_was_said(tmp_path, clips, net):
    torch.manual_seed(0)
    task = FrameScore(partial(net, width=8), view=VIEW).eval()
    rows, pixels = clips
    example_images.draw(task, rows, pixels, tmp_path / "pictures", device="cpu")
    captions = json.loads((tmp_path / "pictures" / "captions.json").read_text())
    assert [c["file"] for c in captions] == ["0.svg", "1.svg", "2.svg", "3.svg"]
    assert [c["example"] for c in captions] == ["t/c0#1", "t/c1#1", "t/c2#1", "t/c0#2"]
    for score, caption in enumerate(captions):
        clip, _, frame = caption["example"].partition("#")
        picture = pixels.frames[40, 48][clip][int(frame)]
        with torch.no_grad():
            said = task.predict(torch.from_numpy(picture / np.float32(255))[None, None])
        (shares,) = said["outputs"]
        best = int(shares.argmax())
        expected = f"score {score}, predicted {best} with probability {shares[best]:.2f}"
        assert caption["caption"] == expected
        assert (tmp_path / "pictures" / caption["file"]).read_text().startswith("<svg")
    assert len(list((tmp_path / "pictures").iterdir())) == 5


def test_the_same_network_draws_the_same_pictures(tmp_path, clips):
    task = FrameScore(partial(RegSTN, width=8), view=VIEW).eval()
    rows, pixels = clips
    for name in ("one", "two"):
        example_images.draw(task, rows, pixels, tmp_path / name, device="cpu")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_without_a_test_clip_there_is_an_empty_list_of_captions(tmp_path, clips):
    task = FrameScore(partial(FrameCNN, width=8), view=VIEW).eval()
    example_images.draw(task, [], clips[1], tmp_path / "pictures", device="cpu")
    assert json.loads((tmp_path / "pictures" / "captions.json").read_text()) == []


SPARSE = Segmentation(partial(PositionPrior, rows=2, columns=2), "sparse", view=VIEW)
DIAGNOSIS = FrameDiagnosis(partial(ReverseTransfer, widths=(4, 8)), view=VIEW)


def outlined(clip, patient, scheme="dense", split="test", num_frames=4):
    return {
        "clip": clip, "patient": patient, "mask_scheme": scheme, "split": split,
        "num_frames": num_frames,
    }  # fmt: skip


def shown(task, *rows):
    return [(one["clip"], frame) for one, frame in example_images.select_examples(task, rows)]


def test_masks_are_shown_of_the_first_clips_of_different_patients_in_the_middle():
    rows = [outlined(f"c{n}", f"p{n // 2}", num_frames=5) for n in reversed(range(10))]
    assert shown(SPARSE, *rows) == [("c0", 2), ("c2", 2), ("c4", 2), ("c6", 2)]


def test_the_frame_is_one_that_is_tested_as_it_is_where_images_were_dealt_at_random():
    rows = [
        {**outlined("a", "p"), "images": [(0, 3), (1, 0), (3, 0), (3, 5)]},
        {**outlined("b", "q"), "images": [(0, 1), (2, 4)]},  # altered copies alone
        {**outlined("c", "q"), "images": [(2, 0)]},
        {**outlined("d", "r"), "images": [(1, 1)]},
        {**outlined("d", "r", split="train"), "images": [(0, 0)]},
    ]
    assert shown(SPARSE, *rows) == [("a", 3), ("c", 2)]


def test_clips_whose_masks_cannot_be_read_are_never_shown():
    rows = [
        outlined("a", "p", None),
        outlined("b", "q", "markers"),
        outlined("c", "r", split="train"),
        outlined("d", "s", num_frames=1),
    ]
    assert shown(SPARSE, *rows) == [("d", 0)]


def test_there_is_a_frame_for_each_diagnosis_that_occurs():
    diseases = ["COVID-19 pneumonia", "healthy", None, "other non-lung disease", "healthy"]
    rows = [
        {"clip": f"c{n}", "patient": f"p{n}", "disease": d, "split": "test", "num_frames": 4}
        for n, d in enumerate(diseases)
    ]
    assert shown(DIAGNOSIS, *rows) == [("c1", 2), ("c0", 2)]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_every_outline_says_how_much_of_it_is_as_the_expert_has_it(tmp_path, dropout):
    torch.manual_seed(0)
    net = partial(UNet, widths=(4, 8), dropout=dropout)
    task = Segmentation(net, "sparse", view=VIEW).eval()
    rng = np.random.default_rng(0)
    rows = [outlined(f"t/c{n}", f"t/p{n}") for n in range(2)]
    frames = {r["clip"]: rng.integers(0, 255, (4, 40, 48), np.uint8) for r in rows}
    ids = {r["clip"]: rng.integers(0, 7, (4, 40, 48), np.uint8) for r in rows}
    pixels = InMemory({(40, 48): frames}, {(40, 48): ids})
    example_images.draw(task, rows, pixels, tmp_path, device="cpu")
    captions = json.loads((tmp_path / "captions.json").read_text())
    assert [c["example"] for c in captions] == ["t/c0#2", "t/c1#2"]
    for row, caption in zip(rows, captions, strict=True):
        given = torch.from_numpy(frames[row["clip"]][2:3])[:, None] / 255
        right = task.predict(given)["masks"][0] == task.prepare_truth(ids[row["clip"]][2:3], row)[0]
        assert caption["caption"] == f"{right.mean():.0%} of pixels agree with the expert"
        assert caption["kind"] == "masks"
        svg = (tmp_path / caption["file"]).read_text()
        assert svg.startswith("<svg")
        # And what it is unsure of, class by class.
        assert svg.count("<image") == (3 + 3 if dropout else 3)


class Unsure(Segmentation):
    """Says background everywhere, and is the more unsure of a class the later it comes."""

    def predict(self, frames):
        return {"masks": np.zeros((len(frames), 40, 48), np.uint8)}

    def estimate_uncertainty(self, frames, **settings):
        values = np.float32([0.15, 0, 0.025, 0.045, 0.065])[: len(self.classes), None, None]
        return np.broadcast_to(values, (len(frames), len(self.classes), 40, 48))


def test_uncertainty_of_every_class_is_drawn_even_where_nobody_sees_it():
    net, black = partial(PositionPrior, rows=2, columns=2), np.zeros((40, 48), np.uint8)
    markers = Unsure(net, "markers", view=VIEW, monitor="union_dice")
    svg, _ = example_images.draw_masks(markers, black, None, device="cpu")
    _, _, *maps = images(svg)
    zero, one, two, three, mean = (tuple(drawn[0, 0, :3]) for drawn in maps)
    assert mean == two  # of 0.025, 0.045 and 0.065
    assert len({zero, one, two, three}) == 4
    titles = [*markers.classes[1:], "mean of scores 1-3"]
    places = [svg.index(f">{title}<") for title in titles]
    assert places == sorted(places)
    sparse = Unsure(net, "sparse", view=VIEW)
    svg, _ = example_images.draw_masks(sparse, black, None, device="cpu")
    assert len(images(svg)) == 2 + 3
    assert "mean of" not in svg


def test_without_an_expert_an_outline_says_so():
    picture = np.random.default_rng(0).integers(0, 255, (40, 48), np.uint8)
    svg, caption = example_images.draw_masks(SPARSE.eval(), picture, None, device="cpu")
    assert svg.startswith("<svg")
    assert caption == "no expert mask"


def test_a_diagnosis_says_what_it_said_by_name(tmp_path):
    task = DIAGNOSIS.eval()
    row = {"clip": "t/c", "patient": "t/p", "disease": "asthma or COPD exacerbation",
           "split": "test", "num_frames": 3}  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 255, (3, 40, 48), np.uint8)
    example_images.draw(task, [row], InMemory({(40, 48): {"t/c": frames}}), tmp_path, device="cpu")
    (caption,) = json.loads((tmp_path / "captions.json").read_text())
    (shares,) = task.predict(torch.from_numpy(frames[1:2])[:, None] / 255)["outputs"]
    best = int(shares.argmax())
    said = f"predicted {task.classes[best]} with probability {shares[best]:.2f}"
    assert caption["caption"] == f"other lung disease, {said}"
    assert caption["kind"] == "looks"


BLINES = Segmentation(partial(UNet, widths=(4, 8)), "bline", view=VIEW, monitor="dice")
COVID, CAP = {"domain": "covid"}, {"domain": "cap"}


def of_domain(clip, patient, domain, images=None, **facts):
    return {**outlined(clip, patient, "bline"), "domain": domain, "images": images, **facts}


def test_b_lines_are_shown_of_two_patients_of_each_domain():
    rows = [of_domain(f"{d}{n}", f"{d}{n // 2}", d) for d in ("covid", "cap") for n in range(8)]
    assert shown(BLINES, *rows) == [("cap0", 2), ("cap2", 2), ("covid0", 2), ("covid2", 2)]


def test_a_patient_with_clips_of_both_domains_is_shown_in_both():
    rows = [of_domain("a", "p", "covid"), of_domain("b", "p", "cap")]
    assert shown(BLINES, *rows) == [("b", 2), ("a", 2)]


def test_the_frame_is_the_middle_one_of_those_with_b_lines():
    rows = [of_domain("a", "p", "cap", [[3, 0], [7, 0], [8, 0]]), of_domain("b", "q", "cap", [])]
    assert shown(BLINES, *rows) == [("a", 7)]


class Negative(Segmentation):
    """Shows a frame of the source as its negative, and one of the target at half its grey."""

    def translate_and_reconstruct(self, frames, *, source):
        other = 1 - frames if source else frames / 2
        return other, (frames + 10 / 255 if source else frames)


@pytest.fixture
def two_domains():
    rows = [of_domain("t/a", "t/p", "covid", [[1, 0]]), of_domain("t/b", "t/q", "cap", [[2, 0]])]
    rng = np.random.default_rng(0)
    frames = {r["clip"]: rng.integers(0, 200, (4, 40, 48), np.uint8) for r in rows}
    ids = {r["clip"]: np.zeros((4, 40, 48), np.uint8) for r in rows}
    ids["t/a"][:, 10:30, 10:30] = 1
    return rows, InMemory({(40, 48): frames}, {(40, 48): ids})


def drawn(task, clips, folder, **domains):
    rows, pixels = clips
    example_images.draw(task.eval(), rows, pixels, folder, device="cpu", **domains)
    captions = json.loads((folder / "captions.json").read_text())
    assert {c["file"] for c in captions} | {"captions.json"} == {p.name for p in folder.iterdir()}
    return captions


def test_b_lines_leave_the_outline_of_the_expert_and_that_of_the_arm(tmp_path, two_domains):
    torch.manual_seed(0)
    captions = drawn(BLINES, two_domains, tmp_path, learns=COVID)
    assert [(c["example"], c["kind"]) for c in captions] == [
        ("t/b#2", "expert"), ("t/b#2", "outlines"), ("t/a#1", "expert"), ("t/a#1", "outlines"),
    ]  # fmt: skip
    assert [c["caption"] for c in captions if c["kind"] == "expert"] == ["cap", "covid"]
    given = torch.from_numpy(two_domains[1].frames[40, 48]["t/a"][1:2] / np.float32(255))[:, None]
    said, true = BLINES.predict(given)["masks"][0] == 1, np.zeros((40, 48), bool)
    true[10:30, 10:30] = True
    dice = 2 * (said & true).sum() / (said.sum() + 400)
    assert captions[3]["caption"] == f"Dice {dice:.2f}"
    expert, arm = ((tmp_path / c["file"]).read_text() for c in captions[2:])
    assert (figures.EXPERT[0] in expert, figures.ARM[0] in expert) == (True, False)
    assert (figures.EXPERT[0] in arm, figures.ARM[0] in arm) == (True, said.any())


def test_a_frame_without_any_b_line_says_so(tmp_path, two_domains):
    class Nothing(Segmentation):
        def predict(self, frames):
            return {"masks": np.zeros((len(frames), 40, 48), np.uint8)}

    task = Nothing(partial(UNet, widths=(4, 8)), "bline", view=VIEW, monitor="dice")
    captions = drawn(task, two_domains, tmp_path)
    judged = [c["caption"] for c in captions if c["kind"] == "outlines"]
    assert judged == ["no B-line in either", "Dice 0.00"]


@pytest.mark.parametrize(("source", "target"), [(COVID, CAP), (CAP, COVID)])
def test_a_frame_is_translated_from_the_domain_that_it_is_of(tmp_path, two_domains, source, target):
    task = Negative(partial(UNet, widths=(4, 8)), "bline", view=VIEW, monitor="dice")
    captions = drawn(task, two_domains, tmp_path, learns=source, unlabelled=target)
    translated = {c["example"]: c for c in captions if c["kind"] == "translations"}
    for row, (example, caption) in zip(reversed(two_domains[0]), translated.items(), strict=True):
        here, there = ("cap", "covid") if row["domain"] == "cap" else ("covid", "cap")
        off = 10 if row["domain"] == source["domain"] else 0
        told = f"{here} as {there}: reconstructed with a mean error of {off:.1f} of 255 grey levels"
        assert (example[:3], caption["caption"]) == (row["clip"], told)
        svg = (tmp_path / caption["file"]).read_text()
        assert svg.count("<image") == 3
        assert f">{here}" in svg


def test_a_clip_of_neither_domain_is_not_translated(tmp_path, two_domains):
    task = Negative(partial(UNet, widths=(4, 8)), "bline", view=VIEW, monitor="dice")
    captions = drawn(task, two_domains, tmp_path, learns=COVID)
    assert [c["example"] for c in captions if c["kind"] == "translations"] == ["t/a#1"]
    unknown = drawn(task, two_domains, tmp_path / "unknown")
    assert "translations" not in {c["kind"] for c in unknown}


def test_the_task_of_two_domains_translates_its_frames(tmp_path, two_domains):
    task = Sifa(partial(SifaSegmenter, width=2), view=VIEW, num_units=1)
    captions = drawn(task, two_domains, tmp_path, learns=COVID, unlabelled=CAP)
    assert [c["kind"] for c in captions].count("translations") == 2
