"""Reverse transfer: a network that learned to outline becomes a network that diagnoses.

Table     Gare et al. 2021 (ISBI), Table 2.
Question  Does a U-Net that learned dense or sparse labels diagnose better than one that did not?
Data      one clip table with masks of the dense scheme and diseases; clips without masks take part
          in the diagnosis alone. Unit: patient.
Splits    four patient folds, balanced in disease, with a validation part.
Run       lus run reverse_transfer --data clips/phantom
Try       lus run reverse_transfer --smoke          2 CPUs, about a minute, phantom clips
"""

from functools import partial

from experiments import dense_labels
from lus_ray.experiment import Arm, Claim, Experiment, Recipe, Size
from lus_ray.folds import rotating
from lus_ray.nets import ReverseTransfer
from lus_ray.tasks import Expert, FrameDiagnosis, Intensity
from lus_ray.views import View

diagnosing = Recipe(epochs=12, batch=4, lr=1e-3, plateau=0.5, gpus=0.5)
clips = View(num_frames=8, height=224, width=224, num_samples=1)


def diagnosis(name: str, *, num_maps: int = 7, start: str | None = None) -> Arm:
    """Softmax maps, their global averages and a linear layer, trained as one network."""
    net = partial(ReverseTransfer, num_maps=num_maps)
    task = partial(FrameDiagnosis, net=net, view=dense_labels.frames)
    return Arm(name, task, diagnosing, "diagnosis", start=start)


ARMS = (
    # What every arm is held against.
    Arm("intensity", partial(Intensity, view=clips)),
    *(
        Arm(
            f"{kind} on intensity",
            partial(Expert, kind=kind, label="diagnosis", inputs="features"),
            label="diagnosis",
            reads="intensity",
            baseline=True,
        )
        for kind in ("prior", "logistic")
    ),
    # The segmenters, and what becomes of them.
    *(dense_labels.EXPERIMENT.arm(name) for name in ("dense", "sparse")),
    diagnosis("none"),
    diagnosis("from sparse", num_maps=4, start="sparse"),
    diagnosis("from dense", start="dense"),
)

# Accuracy, and the macro F1 that follows from the printed F1 of the three classes.
TABLE_2 = {
    "from dense": {"accuracy": (0.849, None), "macro_f1": (0.805, None)},
    "from sparse": {"accuracy": (0.843, None), "macro_f1": (0.799, None)},
    "none": {"accuracy": (0.824, None), "macro_f1": (0.784, None)},
}

CLAIMS = (
    Claim(
        "Dense labels first make a better diagnosis.",
        metric="accuracy",
        better="from dense",
        than="none",
    ),
    Claim(
        "Sparse labels first make a better diagnosis.",
        metric="accuracy",
        better="from sparse",
        than="none",
    ),
    Claim(
        "Dense labels prepare better than sparse ones.",
        metric="accuracy",
        better="from dense",
        than="from sparse",
    ),
)

SMOKE = Size(
    recipe={"epochs": 2, "batch": 8, "draws": 48, "val_samples": 2},
    net={"widths": (4, 8)},
    task={"view": View(num_frames=1, height=32, width=48, num_samples=0)},
    phantom={"patients": 24, "clips": 1, "frames": 4, "size": 96},
)

LAPTOP = Size(
    recipe={"epochs": 8, "batch": 8, "draws": 300, "val_samples": 3},
    net={"widths": (8, 16, 32, 64)},
    task={"view": View(num_frames=1, height=112, width=144, num_samples=0)},
    phantom={"patients": 40, "clips": 2, "frames": 8, "size": 160},
)

EXPERIMENT = Experiment(
    name="reverse_transfer",
    title="Reverse transfer: from segmentation to diagnosis",
    folds=rotating(4, stratify="disease"),
    arms=ARMS,
    metrics=("accuracy", "macro_f1", "f1", "precision", "recall", "auc", *dense_labels.METRICS[:5]),
    published=TABLE_2 | {n: dense_labels.TABLE_1[n] for n in ("dense", "sparse")},
    claims=CLAIMS,
    sizes={"smoke": SMOKE, "laptop": LAPTOP},
)
