"""`--weights` for an arm, a network or an encoder, and for all of them."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import experiments.marker_segmentation as study
from lus_ray.errors import CheckpointError, InputError
from lus_ray.nets.encoder import ResNetEncoder
from lus_ray.nets.mobilenet import MobileNetV2
from lus_ray.nets.pretrained import published
from lus_ray.orchestration import initial_weights, run_options
from lus_ray.training import checkpoint

SMOKE = study.EXPERIMENT.at("smoke")
RESNET, MOBILENET = "nested unet, augmented", "deeplab, augmented"
FOUR_STAGES = ["canonical nested unet, augmented", "canonical deeplab, augmented"]
CLASSIFIER = {"fc.weight": torch.ones(10, 4), "classifier.1.bias": torch.ones(10)}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Encoders of the smoke size as torchvision's classifiers are stored, filled with one value."""
    folder = tmp_path_factory.mktemp("weights")
    encoders = {"resnet": ResNetEncoder("resnet50", width=8), "mobile": MobileNetV2(width=8)}
    for value, (name, encoder) in enumerate(encoders.items(), start=2):
        own = {n: torch.full_like(t, value) for n, t in encoder.state_dict().items()}
        head = {n: t for n, t in CLASSIFIER.items() if n.startswith(encoder.dropped_prefixes)}
        save_file({**own, **head}, folder / f"{name}.safetensors")
    return folder


def started(text, experiment=SMOKE):
    """The file's name by arm."""
    chosen = initial_weights.initialise(experiment, text)
    return {a.name: a.weights.rpartition("/")[2] for a in chosen.arms if a.weights}


def both(files, unetpp="nested unet*", deeplab="deeplab*"):
    return f"{unetpp}={files}/resnet.safetensors,{deeplab}={files}/mobile.safetensors"


def with_validated(*names):
    return {name for arm in names for name in (arm, f"{arm}, validated")}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("nested unet*", "deeplab*"),
        ("resnet50", "mobilenet_v2"),
        ("nested unet, augmented", "deeplab, augmented"),
    ],
)
def test_every_encoder_starts_from_its_own_file(files, left, right):
    starts = started(both(files, left, right))
    own = {name: file for name, file in starts.items() if "canonical" not in name}
    expected = {"resnet.safetensors": RESNET, "mobile.safetensors": MOBILENET}
    several = {left, right}.isdisjoint(expected.values())
    assert own == {
        name: file
        for file, arm in expected.items()
        for name in (with_validated(arm) if several else {arm})
    }
    assert (set(starts) - set(own)) == (set(FOUR_STAGES) if left == "resnet50" else set())


def test_a_network_is_named_by_its_file_in_nets(files):
    text = f"unetpp={files}/resnet.safetensors"
    assert set(started(text)) == {*with_validated(RESNET), FOUR_STAGES[0]}


def test_both_members_of_the_published_ensemble_begin_with_these_values(files):
    chosen = initial_weights.initialise(SMOKE, both(files))
    for name, value in ((RESNET, 2), (MOBILENET, 3)):
        task, arm = SMOKE.arm(name).task(), chosen.arm(name)
        checkpoint.initialize_from(task, Path(arm.weights))
        floats = [t for t in task.net.encoder.state_dict().values() if t.is_floating_point()]
        assert all((t == value).all() for t in floats)
        assert not (task.net.out.weight == value).any()


@pytest.mark.slow
def test_torch_files_do_as_well(files, tmp_path):
    state = checkpoint.weights.read(files / "mobile.safetensors")
    torch.save(state, tmp_path / "m.pth")
    assert set(started(f"deeplab={tmp_path}/m.pth")) == with_validated(MOBILENET)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unetp={files}/resnet.safetensors", "network or encoder 'unetp'; did you mean 'unetpp'"),
        ("unet,deeplab={files}/mobile.safetensors", "no arm that trains a network, network or en"),
        ("ensemble={files}/resnet.safetensors", "no arm that trains"),
        ("deeplab,*={files}/resnet.safetensors", "no arm of 'deeplab,*' can start from them"),
        ("unetpp=vgg", "vgg: neither a file nor published"),
        ("unetpp={files}/resnet.safetensors,deeplab", "'deeplab' names no file; write LEFT=WEI"),
        ("unetpp={files}/resnet.safetensors,nested*={files}/resnet.safetensors", "already"),
        ("deeplab=mobilenet_v2-imagenet", "give --weights mobilenet_v2-imagenet=FILE"),
        ("deeplab=mobilenet_v2-imagenet={files}/mobile.safetensors", "not mobilenet_v2-imagenet"),
        ("mobilenet_v2-imagenet={files}/mobile.safetensors", "not mobilenet_v2-imagenet"),
    ],
)
def test_what_fits_nothing_is_refused_in_one_line(files, text, message):
    with pytest.raises((InputError, CheckpointError)) as caught:
        started(text.format(files=files))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_published_name_with_its_file_means_all_arms_or_those_on_the_left(files, monkeypatch):
    entry = replace(published.PUBLISHED["resnet50-imagenet"], sha256="")  # takes any file
    monkeypatch.setitem(published.PUBLISHED, "resnet50-imagenet", entry)
    source = f"resnet50-imagenet={files}/resnet.safetensors"
    every = started(source)
    assert set(every) == {*with_validated(RESNET), *FOUR_STAGES}
    assert set(started(f"unetpp={source}")) == {*with_validated(RESNET), FOUR_STAGES[0]}


def test_a_mapping_in_python_is_the_option_of_the_printed_command(files, monkeypatch):
    monkeypatch.chdir(files)
    mapping = {"nested unet, augmented": "resnet.safetensors", "deeplab": "mobile.safetensors"}
    text = initial_weights.to_text(mapping)
    command = run_options.format_command("marker_segmentation", "smoke", {"weights": text})
    words = shlex.split(command)
    printed = words[words.index("--weights") + 1]
    assert printed == both(files, "nested unet, augmented", "deeplab")
    monkeypatch.chdir("/")
    assert started(printed) == {
        RESNET: "resnet.safetensors",
        **dict.fromkeys(with_validated(MOBILENET), "mobile.safetensors"),
    }
