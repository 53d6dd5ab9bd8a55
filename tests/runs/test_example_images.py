"""Example images of a cell: which frames are shown, and one file with a caption for each."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from lus_ray import figures
from lus_ray.clip import BIOMARKERS
from lus_ray.data.loading.batches import InMemory
from lus_ray.data.transforms.view import View
from lus_ray.nets import TSM, FrameCNN, PositionPrior, RegSTN, ReverseTransfer, UNet
from lus_ray.nets.sifa import SifaSegmenter
from lus_ray.runs import example_images
from lus_ray.tasks import Biomarkers, ClipLabel, FrameDiagnosis, FrameScore, Segmentation
from lus_ray.tasks.sifa import Sifa
from tests.figures.svg import images

SIZE = (40, 48)
VIEW = View(num_frames=1, height=40, width=48, num_samples=0)
PRIOR = partial(PositionPrior, rows=2, columns=2)
SCORES = FrameScore(partial(FrameCNN, width=8), view=VIEW)
SPARSE = Segmentation(PRIOR, "sparse", view=VIEW)
DIAGNOSIS = FrameDiagnosis(partial(ReverseTransfer, widths=(4, 8)), view=VIEW)
BLINES = Segmentation(partial(UNet, widths=(4, 8)), "bline", view=VIEW, monitor="dice")
COVID, CAP = {"domain": "covid"}, {"domain": "cap"}


def scored(clip, patient, scores, split="test"):
    return {"clip": clip, "patient": patient, "frame_severity": scores, "split": split}


def masked(clip, patient, scheme="dense", split="test", num_frames=4, **columns):
    names = {"clip": clip, "patient": patient, "mask_scheme": scheme, "split": split}
    return {**names, "num_frames": num_frames, **columns}


def of_domain(clip, patient, domain, images=None):
    return masked(clip, patient, "bline", domain=domain, images=images)


def diagnosed(number, disease):
    names = {"clip": f"c{number}", "patient": f"p{number}", "disease": disease}
    return {**names, "split": "test", "num_frames": 4}


DISEASES = ["COVID-19 pneumonia", "healthy", None, "other non-lung disease", "healthy"]
TWO_PATIENTS = [scored("a", "p", [0, 1]), scored("b", "p", [1]), scored("c", "q", [1])]


@pytest.mark.parametrize(
    ("task", "rows", "selected"),
    [
        pytest.param(
            SCORES, [scored("a", "p", [3, 3, 0]), scored("b", "q", [2])],
            [("a", 2), ("b", 0), ("a", 1)], id="a frame per score in the order of scores",
        ),
        pytest.param(
            SCORES, [scored("a", "p", [1, 1, 0, 1, 1, 1])],
            [("a", 2), ("a", 3)], id="the middle frame with a score",
        ),
        pytest.param(
            SCORES, [scored(f"c{n}", f"p{n}", [0, 1, 2, 3]) for n in reversed(range(4))],
            [("c0", 0), ("c1", 1), ("c2", 2), ("c3", 3)], id="another patient for every score",
        ),
        pytest.param(SCORES, TWO_PATIENTS, [("a", 0), ("c", 0)], id="another patient"),
        pytest.param(SCORES, TWO_PATIENTS[:2], [("a", 0), ("a", 1)], id="else the same patient"),
        pytest.param(
            SCORES,
            [scored("a", "p", [0], "train"), scored("b", "q", [0], "val"), scored("c", "r", None)],
            [], id="neither untested nor unscored clips",
        ),
        pytest.param(
            SPARSE,
            [masked(f"c{n}", f"p{n // 2}", num_frames=5) for n in reversed(range(10))],
            [("c0", 2), ("c2", 2), ("c4", 2), ("c6", 2)], id="the first clips of four patients",
        ),
        pytest.param(
            SPARSE,
            [
                masked("a", "p", images=[(0, 3), (1, 0), (3, 0), (3, 5)]),
                masked("b", "q", images=[(0, 1), (2, 4)]),
                masked("c", "q", images=[(2, 0)]),
                masked("d", "r", images=[(1, 1)]),
                masked("d", "r", split="train", images=[(0, 0)]),
            ],
            [("a", 3), ("c", 2)], id="unaltered test frames of images split at random",
        ),
        pytest.param(
            SPARSE,
            [
                masked("a", "p", None),
                masked("b", "q", "markers"),
                masked("c", "r", split="train"),
                masked("d", "s", num_frames=1),
            ],
            [("d", 0)], id="no clips whose masks cannot be read",
        ),
        pytest.param(
            DIAGNOSIS, [diagnosed(*pair) for pair in enumerate(DISEASES)],
            [("c1", 2), ("c0", 2)], id="a frame per diagnosis",
        ),
        pytest.param(
            BLINES,
            [of_domain(f"{d}{n}", f"{d}{n // 2}", d) for d in ("covid", "cap") for n in range(8)],
            [("cap0", 2), ("cap2", 2), ("covid0", 2), ("covid2", 2)],
            id="two patients per domain",
        ),
        pytest.param(
            BLINES, [of_domain("a", "p", "covid"), of_domain("b", "p", "cap")],
            [("b", 2), ("a", 2)], id="a patient in both domains",
        ),
        pytest.param(
            BLINES,
            [of_domain("a", "p", "cap", [[3, 0], [7, 0], [8, 0]]), of_domain("b", "q", "cap", [])],
            [("a", 7)], id="the middle frame with B-lines",
        ),
    ],
)  # fmt: skip
def test_examples_are_selected_by_label_and_name(task, rows, selected):
    examples = example_images.select_examples(task, rows)
    assert [(row["clip"], frame) for row, frame in examples] == selected


def draw(task, rows, pixels, folder, **domains):
    """The captions of all files that are drawn."""
    example_images.draw(task.eval(), rows, pixels, folder, device="cpu", **domains)
    captions = json.loads((folder / "captions.json").read_text())
    assert {c["file"] for c in captions} | {"captions.json"} == {p.name for p in folder.iterdir()}
    assert all((folder / c["file"]).read_text().startswith("<svg") for c in captions)
    return captions


def noise(rows, highest=255, num_frames=4):
    rng = np.random.default_rng(0)
    return {row["clip"]: rng.integers(0, highest, (num_frames, *SIZE), np.uint8) for row in rows}


def prediction_of(task, image):
    """The most likely class of an image and its probability, as captions write them."""
    with torch.no_grad():
        (shares,) = task.predict(torch.from_numpy(image / np.float32(255))[None, None])["outputs"]
    best = int(shares.argmax())
    return f"predicted {task.classes[best]} with probability {shares[best]:.2f}"


@pytest.mark.parametrize("net", [FrameCNN, RegSTN])
def test_captions_of_scores_give_the_true_one_and_the_prediction(tmp_path, net):
    torch.manual_seed(0)
    task = FrameScore(partial(net, width=8), view=VIEW).eval()
    rows = [scored(f"t/c{n}", f"t/p{n}", [n, n, 3]) for n in range(3)]
    frames = noise(rows, num_frames=3)
    first, second = (
        draw(task, rows, InMemory({SIZE: frames}), tmp_path / name) for name in ("first", "second")
    )
    assert [c["file"] for c in first] == ["0.svg", "1.svg", "2.svg", "3.svg"]
    examples = [("t/c0", 1), ("t/c1", 1), ("t/c2", 1), ("t/c0", 2)]
    assert first == second
    for score, ((clip, frame), caption) in enumerate(zip(examples, first, strict=True)):
        expected = f"score {score}, {prediction_of(task, frames[clip][frame])}"
        assert (caption["example"], caption["caption"]) == (f"{clip}#{frame}", expected)
        assert len({path.read_bytes() for path in tmp_path.glob(f"*/{caption['file']}")}) == 1


def test_captions_of_diagnoses_give_names(tmp_path):
    row = diagnosed(0, "asthma or COPD exacerbation") | {"num_frames": 3}
    frames = noise([row], num_frames=3)
    (caption,) = draw(DIAGNOSIS, [row], InMemory({SIZE: frames}), tmp_path)
    expected = f"other lung disease, {prediction_of(DIAGNOSIS, frames['c0'][1])}"
    assert (caption["caption"], caption["kind"]) == (expected, "looks")


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (partial(ClipLabel, label="severity"), "severity 2, predicted "),
        (Biomarkers, f"most probable: {BIOMARKERS[0]} 0.90, present; "),
    ],
)
def test_example_clips_show_the_frames_that_a_network_reads(tmp_path, monkeypatch, task, words):
    view = View(num_frames=6, height=SIZE[0], width=SIZE[1], num_samples=2)
    network = task(backbone=partial(TSM, width=8), view=view)
    rows = [
        {"clip": f"c{n}", "patient": f"p{n}", "split": "test", "severity": n % 3,
         "biomarkers": [1] + [0] * (len(BIOMARKERS) - 1)}
        for n in range(4)
    ]  # fmt: skip
    if network.multilabel:
        likely = np.eye(len(BIOMARKERS))[:1] * 0.9
        monkeypatch.setattr(network, "predict", lambda frames: {"outputs": likely})
    captions = draw(network, rows, InMemory({SIZE: noise(rows, num_frames=12)}), tmp_path)
    assert [(c["example"], c["kind"]) for c in captions] == [
        (f"c{n}", "inputs") for n in range(3)
    ]  # one of each severity
    assert captions[2]["caption"].startswith(words)
    svg = (tmp_path / captions[0]["file"]).read_text()
    assert len(images(svg)) == example_images.NUM_FRAMES


def test_without_a_test_clip_there_is_an_empty_list_of_captions(tmp_path):
    assert draw(SCORES, [], InMemory({SIZE: {}}), tmp_path) == []


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_captions_of_masks_give_the_agreement_with_the_expert(tmp_path, dropout):
    torch.manual_seed(0)
    net = partial(UNet, widths=(4, 8), dropout=dropout)
    task = Segmentation(net, "sparse", view=VIEW).eval()
    rows = [masked(f"t/c{n}", f"t/p{n}") for n in range(2)]
    frames, ids = noise(rows), noise(rows, highest=7)
    captions = draw(task, rows, InMemory({SIZE: frames}, {SIZE: ids}), tmp_path)
    assert [c["example"] for c in captions] == ["t/c0#2", "t/c1#2"]
    for row, caption in zip(rows, captions, strict=True):
        image = torch.from_numpy(frames[row["clip"]][2:3])[:, None] / 255
        true = task.prepare_truth(ids[row["clip"]][2:3], row)[0]
        agreement = (task.predict(image)["masks"][0] == true).mean()
        assert caption["caption"] == f"{agreement:.0%} of pixels agree with the expert"
        assert caption["kind"] == "masks"
        num_maps = 3 if dropout else 0  # of the uncertainty of each class
        assert (tmp_path / caption["file"]).read_text().count("<image") == 3 + num_maps


class Background(Segmentation):
    """Predicts background everywhere."""

    def predict(self, frames):
        return {"masks": np.zeros((len(frames), *SIZE), np.uint8)}


class Uncertain(Background):
    def estimate_uncertainty(self, frames, **settings):
        values = np.float32([0.15, 0, 0.025, 0.045, 0.065])[: len(self.classes), None, None]
        return np.broadcast_to(values, (len(frames), len(self.classes), *SIZE))


def test_uncertainty_is_drawn_for_every_class_also_without_a_pixel_of_it():
    black = np.zeros(SIZE, np.uint8)
    markers = Uncertain(PRIOR, "markers", view=VIEW, monitor="union_dice")
    svg, caption = example_images.draw_masks(markers, black, None, device="cpu")
    assert caption == "no expert mask"
    _, _, *maps = images(svg)
    zero, one, two, three, mean = (tuple(colours[0, 0, :3]) for colours in maps)
    assert mean == two  # of 0.025, 0.045 and 0.065
    assert len({zero, one, two, three}) == 4
    titles = [*markers.classes[1:], "mean of scores 1-3"]
    positions = [svg.index(f">{title}<") for title in titles]
    assert positions == sorted(positions)
    sparse = Uncertain(PRIOR, "sparse", view=VIEW)
    svg, _ = example_images.draw_masks(sparse, black, None, device="cpu")
    assert len(images(svg)) == 2 + 3
    assert "mean of" not in svg


class Negative(Segmentation):
    """Translates a frame of the source to its negative, and one of the target to half its grey."""

    def translate_and_reconstruct(self, frames, *, source):
        translated = 1 - frames if source else frames / 2
        return translated, (frames + 10 / 255 if source else frames)


def bline_task(kind):
    return kind(partial(UNet, widths=(4, 8)), "bline", view=VIEW, monitor="dice")


@pytest.fixture
def two_domains():
    rows = [of_domain("t/a", "t/p", "covid", [[1, 0]]), of_domain("t/b", "t/q", "cap", [[2, 0]])]
    ids = {row["clip"]: np.zeros((4, *SIZE), np.uint8) for row in rows}
    ids["t/a"][:, 10:30, 10:30] = 1
    return rows, InMemory({SIZE: noise(rows, highest=200)}, {SIZE: ids})


def test_b_lines_are_drawn_with_the_mask_of_the_expert_and_that_of_the_arm(tmp_path, two_domains):
    torch.manual_seed(0)
    captions = draw(BLINES, *two_domains, tmp_path, learns=COVID)
    assert [(c["example"], c["kind"]) for c in captions] == [
        ("t/b#2", "expert"), ("t/b#2", "outlines"), ("t/a#1", "expert"), ("t/a#1", "outlines"),
    ]  # fmt: skip
    assert [c["caption"] for c in captions if c["kind"] == "expert"] == ["cap", "covid"]
    image = torch.from_numpy(two_domains[1].frames[SIZE]["t/a"][1:2] / np.float32(255))[:, None]
    predicted, true = BLINES.predict(image)["masks"][0] == 1, np.zeros(SIZE, bool)
    true[10:30, 10:30] = True
    dice = 2 * (predicted & true).sum() / (predicted.sum() + 400)
    assert captions[3]["caption"] == f"Dice {dice:.2f}"
    expert, arm = ((tmp_path / c["file"]).read_text() for c in captions[2:])
    assert (figures.EXPERT[0] in expert, figures.ARM[0] in expert) == (True, False)
    assert (figures.EXPERT[0] in arm, figures.ARM[0] in arm) == (True, predicted.any())


def test_a_frame_without_a_b_line_has_no_dice(tmp_path, two_domains):
    captions = draw(bline_task(Background), *two_domains, tmp_path)
    scores = [c["caption"] for c in captions if c["kind"] == "outlines"]
    assert scores == ["no B-line in either", "Dice 0.00"]


@pytest.mark.parametrize(("source", "target"), [(COVID, CAP), (CAP, COVID)])
def test_frames_are_translated_from_their_own_domain(tmp_path, two_domains, source, target):
    captions = draw(bline_task(Negative), *two_domains, tmp_path, learns=source, unlabelled=target)
    translated = {c["example"]: c for c in captions if c["kind"] == "translations"}
    for row, (example, caption) in zip(reversed(two_domains[0]), translated.items(), strict=True):
        here, there = ("cap", "covid") if row["domain"] == "cap" else ("covid", "cap")
        error = 10 if row["domain"] == source["domain"] else 0
        text = f"reconstructed with a mean error of {error:.1f} of 255 grey levels"
        assert (example[:3], caption["caption"]) == (row["clip"], f"{here} as {there}: {text}")
        svg = (tmp_path / caption["file"]).read_text()
        assert svg.count("<image") == 3
        assert f">{here}" in svg


@pytest.mark.parametrize(("domains", "examples"), [({"learns": COVID}, ["t/a#1"]), ({}, [])])
def test_clips_of_neither_domain_are_not_translated(tmp_path, two_domains, domains, examples):
    captions = draw(bline_task(Negative), *two_domains, tmp_path, **domains)
    assert [c["example"] for c in captions if c["kind"] == "translations"] == examples


def test_sifa_translates_its_frames(tmp_path, two_domains):
    task = Sifa(partial(SifaSegmenter, width=2), view=VIEW, num_units=1)
    captions = draw(task, *two_domains, tmp_path, learns=COVID, unlabelled=CAP)
    assert [c["kind"] for c in captions].count("translations") == 2
