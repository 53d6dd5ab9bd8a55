"""Classify: one network and two plain baselines for one label of one's own clips.

Table     none published; any label that a store has, built in or of one's own.
Question  Does a network predict the label of a clip better than the brightness of its frames?
Data      one clip table with the label; clips without it are skipped. Unit: patient.
Splits    five patient folds, stratified in the label, a quarter of the other patients set aside to
          validate; small cohorts have three or four folds.
Run       lus run classify --data STORE --label NAME
Try       lus run classify --smoke              2 CPUs, about a minute, phantom clips
"""

from functools import partial

import experiments
from experiments import intensity_baselines
from lus_ray.data.labels import SEVERITY, Label, label_name
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Experiment, Recipe, Search, Size
from lus_ray.folds import stratified_group_k_fold
from lus_ray.nets import TSM
from lus_ray.tasks import ClipLabel

clips = View(num_frames=15, height=224, width=224, num_samples=4)
balanced = Recipe(
    epochs=60, batch=4, lr=1e-4, weight_decay=0.05, warmup=0.1, cosine=True, oversample="label",
    augment=Augment(),
)  # fmt: skip
search = Search(
    {
        "lr": experiments.rates,
        "weight_decay": experiments.penalties,
        "augment.rotate_deg": experiments.degrees,
        "task.backbone.dropout": experiments.shares,
    }
)

SMOKE = Size(
    recipe={"epochs": 2, "lr": 1e-3, "val_samples": 1},
    task={
        "backbone": partial(TSM, width=8, dropout=0.1),
        "view": View(num_frames=4, height=48, width=48, num_samples=2),
    },
    phantom={"patients": 24, "clips": 2, "frames": 12, "size": 96},
)

# Two cores and a hundred clips: a quarter of the width and of the frames.
LAPTOP = Size(
    recipe={"batch": 8, "lr": 1e-3, "val_samples": 1},
    task={
        "backbone": partial(TSM, width=16, dropout=0.5),
        "view": View(num_frames=4, height=96, width=96, num_samples=4),
    },
    phantom={"patients": 48, "clips": 4, "frames": 40, "size": 160},
)


def make(label: Label) -> Experiment:
    """The study of one label; the loss of the network is ordinal where the classes are ordered."""
    network = partial(
        ClipLabel, backbone=partial(TSM, dropout=0.5), view=clips, monitor="auc",
        label=label.name, classes=label.classes, ordered=label.ordered,
    )  # fmt: skip
    return Experiment(
        name="classify",
        title=f"Classification of clips: {label_name(label.name)}",
        folds=stratified_group_k_fold(5),
        arms=(
            *intensity_baselines(clips, label.name, classes=label.classes, of_frames=False),
            Arm("network", network, balanced, label=label.name, search=search),
        ),
        metrics=("auc", "accuracy", "macro_f1", *(["weighted_kappa"] if label.ordered else [])),
        sizes={"smoke": SMOKE, "laptop": LAPTOP},
        target=label,
    )


EXPERIMENT = make(SEVERITY)
