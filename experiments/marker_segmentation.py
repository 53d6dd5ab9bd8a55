"""Marker segmentation: three networks, their ensemble, and how unsure it is of every pixel.

Table     Roy et al. 2020 (IEEE TMI), Table IV and Figure 6.
Question  Does an ensemble of networks segment the markers of severity better than its members?
Data      one clip table with masks of the markers scheme and frame_severity. Unit: patient.
Splits    one patient split, as published: 70 % train, 30 % test, and the last epoch is kept. The
          validated arms train on 55 % and choose the epoch by the other 15 %.
Networks  the released code's "U-Net++" (nested unet) and "DeepLabv3+" are not those of the papers
          that are named; the canonical arms are.
Weights   --weights unetpp=resnet50-imagenet,deeplab=mobilenet_v2-imagenet=FILE starts the released
          encoders as published, but for Pascal VOC in the place of ImageNet in DeepLab.
Odd       "ensemble, uncertainty as released" has the same masks as the ensemble. Only its maps of
          uncertainty differ: batch norms are in training mode, as in the released code, so that
          they describe another network than the one that predicts.
Run       lus run marker_segmentation --data clips/phantom
Try       lus run marker_segmentation --smoke          2 CPUs, about a minute, phantom clips
"""

from dataclasses import replace
from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

import experiments
from experiments import position_baseline
from lus_ray.data.transforms.augment_roy2020 import SixSteps
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Claim, Experiment, Recipe, Rows, Search, Size
from lus_ray.folds import one_split
from lus_ray.nets import (
    DeepLabV3Plus,
    MarkerUNet,
    ReleasedDeepLab,
    ReleasedUNetPlusPlus,
    UNetPlusPlus,
)
from lus_ray.tasks import Ensemble, Segmentation

# Black is added to an aspect of 1.3 before the frame is resized.
frames = View(num_frames=1, height=200, width=260, num_samples=0, aspect=1.3, bicubic=True)
plain = Recipe(epochs=200, batch=32, lr=1e-5, draws=3200, oversample="markers", select="last")
augmented = replace(plain, augment=SixSteps())

# The released evaluation compares predictions with masks smoothed by a median filter of 7 x 7.
markers = partial(Segmentation, scheme="markers", view=frames, monitor="union_dice", smooth=7)
network = partial(markers, channels=3, centred=True)
MEMBERS = {
    "unet, augmented": partial(network, net=MarkerUNet),
    "nested unet, augmented": partial(network, net=ReleasedUNetPlusPlus),
    "deeplab, augmented": partial(network, net=ReleasedDeepLab),
}

CANONICAL = {
    "canonical nested unet, augmented": partial(network, net=UNetPlusPlus),
    "canonical deeplab, augmented": partial(network, net=DeepLabV3Plus),
}

# Factors on the probabilities of background and scores 0 to 3, as the released code has them. The
# paper does not name them, and they are not tuned here. For the nested U-Net all of them are 1.
BOOSTS = {
    "unet": (1, 1, 5, 3.5, 1),
    "unet, augmented": (1, 1, 5, 3.5, 1),
    "deeplab, augmented": (1, 1, 8, 8, 1),
    "ensemble": (1, 1, 2, 2, 2),
}

training = {"lr": experiments.rates, "weight_decay": experiments.penalties}
augmenting = training | {"augment.share": FloatDistribution(0.0, 1.0)}


def segmentation_arm(name: str, task: partial, recipe: Recipe) -> Arm:
    """An arm that segments markers; as published, it trains on all patients that are not tested."""
    search = Search(augmenting if recipe.augment else training)
    return Arm(name, task, recipe, "markers masks", Rows(with_val=True), search=search)


def together(name: str, *members: Arm, **settings: Any) -> Arm:
    """An arm that predicts the mean of trained members and trains nothing."""
    return Arm(
        name,
        partial(Ensemble, members=tuple(member.task for member in members), **settings),
        label="markers masks",
        rows=members[0].rows,
        members=tuple(member.name for member in members),
    )


def validated(arm: Arm) -> Arm:
    """The arm with a validation set, keeping the best epoch."""
    assert arm.recipe is not None
    recipe = replace(arm.recipe, select="best")
    return replace(arm, name=f"{arm.name}, validated", recipe=recipe, rows=Rows())


UNET = segmentation_arm("unet", MEMBERS["unet, augmented"], plain)
AUGMENTED = tuple(segmentation_arm(name, task, augmented) for name, task in MEMBERS.items())
NAMESAKES = tuple(segmentation_arm(name, task, augmented) for name, task in CANONICAL.items())
VALIDATED = tuple(validated(arm) for arm in AUGMENTED)

ARMS = (
    position_baseline(markers, with_val=True),
    UNET,
    *AUGMENTED,
    together("ensemble", *AUGMENTED),
    # The same networks with the released factors; one alone is an ensemble of one.
    *(
        together(f"{arm.name}, boosted", arm, boost=BOOSTS[arm.name])
        for arm in (UNET, *AUGMENTED)
        if arm.name in BOOSTS
    ),
    together("ensemble, boosted", *AUGMENTED, boost=BOOSTS["ensemble"]),
    *VALIDATED,
    together("ensemble, validated", *VALIDATED),
    *NAMESAKES,
    together("ensemble, canonical", AUGMENTED[0], *NAMESAKES),
    together("ensemble, uncertainty as released", *AUGMENTED, batch_statistics=True),
)

TABLE_4 = {
    "unet": (None, 0.64, 0.47),
    "deeplab, augmented": (0.95, 0.71, 0.62),
    "ensemble": (0.96, 0.75, 0.65),
}
COLUMNS = ("pixel_accuracy", "union_dice", "categorical_dice")
PUBLISHED = {
    name: {m: (value, None) for m, value in zip(COLUMNS, row, strict=True) if value is not None}
    for name, row in TABLE_4.items()
}

CLAIMS = (
    Claim("Augmentation improves the U-Net.", "union_dice", "unet, augmented", "unet"),
    *(
        Claim(
            f"The ensemble beats its member {net}.", "union_dice", "ensemble", f"{net}, augmented"
        )
        for net in (name.removesuffix(", augmented") for name in MEMBERS)
    ),
)

SMOKE = Size(
    recipe={"epochs": 2, "batch": 8, "lr": 1e-3, "draws": 32},
    as_published=("place",),
    net={"width": 8, "rows": 8, "columns": 8, "momenta": (0.1, 0.1)},
    task={"view": replace(frames, height=40, width=60), "smooth": 3},
    phantom={"patients": 16, "clips": 1, "frames": 4, "size": 96, "masks": "markers"},
)

LAPTOP = Size(
    recipe={"epochs": 60, "batch": 16, "lr": 1e-3, "draws": 320},
    as_published=("place",),
    net={"width": 8, "momenta": (0.1, 0.1)},
    task={"view": replace(frames, height=100, width=140), "smooth": 3},
    phantom={"patients": 40, "clips": 2, "frames": 8, "size": 160, "masks": "markers"},
)

EXPERIMENT = Experiment(
    name="marker_segmentation",
    title="Markers of severity, pixel by pixel: networks, their ensemble and its uncertainty",
    folds=one_split(train=0.55, val=0.15, test=0.3),
    arms=ARMS,
    metrics=(
        *("union_dice", "categorical_dice", "pixel_accuracy"),
        *(f"dice score {score}" for score in range(4)),
        "union_dice_per_image",
    ),
    published=PUBLISHED,
    claims=CLAIMS,
    sizes={"smoke": SMOKE, "laptop": LAPTOP},
)
