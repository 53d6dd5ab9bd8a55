"""Reverse transfer: a network that learned to segment becomes a network that diagnoses.

Table     Gare et al. 2021 (ISBI), Table 2.
Question  Does a U-Net that learned dense or sparse labels diagnose better than one that did not?
Data      one clip table with masks of the dense scheme and diseases; clips without masks take part
          in the diagnosis alone. Unit: patient. Classes: healthy, pneumonia (another lung disease
          with an etiology) and COVID-19; clips of other diseases have none. In a table without any
          etiology every other lung disease takes the place of pneumonia, as in version 0.1.
Splits    three patient folds, balanced in disease, a quarter of the training patients set aside
          to validate. The paper assigns clips, balanced in class, to three folds whatever their
          patient, and selects on test; that protocol has arms of its own. They start from the
          segmenters of images assigned at random, of the same fold, so that both stages are as
          published. The gap is that of both stages, and of "none" that of the diagnosis alone.
Run       lus run reverse_transfer --data clips/phantom
Try       lus run reverse_transfer --smoke          2 CPUs, about a minute, phantom clips
"""

from dataclasses import replace
from functools import partial

from optuna.distributions import FloatDistribution

import experiments
from experiments import dense_labels, intensity_baselines
from lus_ray.data.labels import PNEUMONIA_DIAGNOSIS
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Claim, Experiment, Gap, Recipe, Rows, Search, Size
from lus_ray.folds import k_fold
from lus_ray.metrics.frames import inherited_metrics
from lus_ray.nets import ReverseTransfer
from lus_ray.tasks import FrameDiagnosis

diagnosing = Recipe(epochs=12, batch=4, lr=1e-3, plateau=0.5)
as_published = replace(diagnosing, select="test")
frames = View(num_frames=1, height=224, width=224, num_samples=0)
AT_RANDOM = ", random clips"
CLASSES = PNEUMONIA_DIAGNOSIS.classes
search = Search(
    {
        "lr": experiments.rates,
        "weight_decay": experiments.penalties,
        "task.head_rate": FloatDistribution(0.1, 100.0, log=True),
    }
)


def networks(
    recipe: Recipe,
    rows: Rows = Rows(),  # noqa: B008  (frozen)
    *,
    suffix: str = "",
    segmenter: str = "",
) -> tuple[Arm, ...]:
    """The rows of the table; `segmenter` ends the name of the arm that each starts from."""
    arms = []
    for name, num_maps, start in (
        ("none", 7, None),
        ("from sparse", 4, f"sparse{segmenter}"),
        ("from dense", 7, f"dense{segmenter}"),
    ):
        net = partial(ReverseTransfer, num_maps=num_maps)
        task = partial(FrameDiagnosis, net=net, view=dense_labels.frames, classes=CLASSES)
        arms.append(
            Arm(f"{name}{suffix}", task, recipe, "diagnosis", rows, start=start, search=search)
        )
    return tuple(arms)


SEGMENTERS = tuple(
    dense_labels.EXPERIMENT.arm(f"{name}{suffix}")
    for suffix in ("", dense_labels.AT_RANDOM)
    for name in ("dense", "sparse")
)

ARMS = (
    # The baselines are trained on single frames, as the networks are.
    *intensity_baselines(frames, "diagnosis", classes=CLASSES),
    # The segmenters, and the networks that start from them.
    *SEGMENTERS,
    *networks(diagnosing),
    *networks(as_published, Rows(clips=True), suffix=AT_RANDOM, segmenter=dense_labels.AT_RANDOM),
)

# Accuracy of frames; the macro F1 that follows from the printed F1 of the classes; precision,
# recall and F1 of normal lungs, of pneumonia and of COVID-19.
TABLE_2 = {
    "from dense": (0.849, 0.805, 0.812, 0.836, 0.824, 0.769, 0.632, 0.694, 0.885, 0.908, 0.897),
    "from sparse": (0.843, 0.799, 0.824, 0.784, 0.803, 0.761, 0.646, 0.699, 0.869, 0.925, 0.896),
    "none": (0.824, 0.784, 0.812, 0.778, 0.795, 0.649, 0.710, 0.678, 0.878, 0.879, 0.878),
}
FRAMES = inherited_metrics(CLASSES)
CLIPS = ("accuracy", "macro_f1", "f1", "precision", "recall", "auc")
PUBLISHED = {
    f"{name}{suffix}": {metric: (value, None) for metric, value in zip(FRAMES, row, strict=True)}
    for suffix in ("", AT_RANDOM)
    for name, row in TABLE_2.items()
}

CLAIMS = tuple(
    Claim(
        f"{what}{how}.", metric="frame_accuracy", better=f"{better}{suffix}", than=f"{than}{suffix}"
    )
    for suffix, how in (("", ""), (AT_RANDOM, ", clips dealt at random as published"))
    for what, better, than in (
        ("Dense labels first make a better diagnosis", "from dense", "none"),
        ("Sparse labels first make a better diagnosis", "from sparse", "none"),
        ("Dense labels prepare better than sparse ones", "from dense", "from sparse"),
    )
)

GAPS = tuple(
    Gap(f"{what}: clips dealt at random and the epoch chosen on test, against patients apart",
        leaky=f"{name}{AT_RANDOM}", clean=name)
    for what, name in (
        ("diagnosis without masks", "none"),
        ("diagnosis from sparse masks", "from sparse"),
        ("diagnosis from dense masks", "from dense"),
    )
)  # fmt: skip

SMOKE = Size(
    recipe={"epochs": 2, "batch": 8, "draws": 48, "val_samples": 2},
    net={"widths": (4, 8)},
    task={"view": View(num_frames=1, height=32, width=48, num_samples=0)},
    phantom={"patients": 24, "clips": 2, "frames": 4, "size": 96},
)

# At the published rate the last layer would not leave the most frequent class within 300 steps.
LAPTOP = Size(
    recipe={"epochs": 8, "batch": 8, "draws": 300, "val_samples": 3},
    net={"widths": (8, 16, 32, 64)},
    task={"view": View(num_frames=1, height=112, width=144, num_samples=0), "head_rate": 20.0},
    phantom={"patients": 70, "clips": 2, "frames": 8, "size": 160},
)

EXPERIMENT = Experiment(
    name="reverse_transfer",
    title="Reverse transfer: from segmentation to diagnosis",
    folds=k_fold(3, stratify="disease"),
    arms=ARMS,
    metrics=(*FRAMES, *CLIPS, *dense_labels.METRICS[:5]),
    published=PUBLISHED | {arm.name: dense_labels.PUBLISHED[arm.name] for arm in SEGMENTERS},
    claims=CLAIMS,
    gaps=GAPS,
    sizes={"smoke": SMOKE, "laptop": LAPTOP},
)
