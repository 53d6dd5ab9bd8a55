"""Biomarkers: a backbone predicts lung findings; small experts read only these.

Table     Gare et al. 2022 (arXiv 2206.08398), Tables 1, 2, 6, 7; 3 with --external, 4 with raters.
Question  Do experts on predicted biomarkers match networks trained end to end?
Data      one clip table with biomarkers, severity, S/F ratio and disease. Unit: patient.
Splits    four patient parts: one fixed test, three-fold validation on the rest.
Run       lus run biomarkers --data clips/covid_blues
External  lus report RUN --external clips/pocovid --where probe=linear
Try       lus demo                            2 CPUs, two minutes, phantom clips
"""

from dataclasses import replace
from functools import partial
from typing import Literal

import experiments
from experiments import intensity_baselines
from lus_ray.data.transforms.augment import Augment
from lus_ray.data.transforms.view import View
from lus_ray.experiment import Arm, Claim, Experiment, Recipe, Search, Size
from lus_ray.folds import fixed_test
from lus_ray.nets import I3D, TSM
from lus_ray.tasks import Biomarkers, ClipLabel, Expert
from lus_ray.tasks.sklearn_expert import EXPERTS

LABELS: tuple[Literal["severity", "sf_ratio", "disease"], ...] = ("severity", "sf_ratio", "disease")

IMAGENET = "resnet18-imagenet"
tsm, i3d = partial(TSM, dropout=0.5), partial(I3D, dropout=0.5)
clips = View(num_frames=15, height=224, width=224, num_samples=4)
video = Recipe(
    epochs=100, batch=4, lr=1e-4, plateau=0.5, patience=10, augment=Augment()
)  # fmt: skip
balanced = {label: replace(video, oversample=label) for label in LABELS}
search = Search(
    {
        "lr": experiments.rates,
        "weight_decay": experiments.penalties,
        "augment.rotate_deg": experiments.degrees,
        "task.backbone.dropout": experiments.shares,
    }
)

biomarkers = partial(Biomarkers, backbone=tsm, view=clips)
end_to_end = {label: partial(ClipLabel, backbone=tsm, view=clips, label=label) for label in LABELS}


def experts(of: str, reads: str, inputs: str, labels: tuple[str, ...] = LABELS) -> tuple[Arm, ...]:
    """The experts of each label on the predictions of an earlier arm."""
    expert = partial(Expert, inputs=inputs)
    return tuple(
        Arm(
            f"{kind} on {of}, {lbl}",
            partial(expert, kind=kind, label=lbl),
            label=lbl,
            reads=reads,
            search=experiments.EXPERTS[kind],
        )
        for lbl in labels
        for kind in EXPERTS
    )


ARMS = (
    *intensity_baselines(clips, "biomarkers", *LABELS, name="{kind}, {label}"),
    # The backbone of biomarkers, and networks trained end to end.
    Arm("biomarkers", biomarkers, video, label="biomarkers", pretrained=IMAGENET, search=search),
    *(
        Arm(
            f"e2e {label}",
            end_to_end[label],
            balanced[label],
            label=label,
            pretrained=IMAGENET,
            search=search,
        )
        for label in LABELS
    ),
    Arm(
        "e2e severity from biomarkers",
        end_to_end["severity"],
        balanced["severity"],
        label="severity",
        start="biomarkers",
        search=search,
    ),
    # Experts on the 38 outputs, on the features of the same label's network, and on those of
    # the severity networks.
    *experts("biomarkers", "biomarkers", "outputs"),
    *(arm for label in LABELS for arm in experts("e2e", f"e2e {label}", "features", (label,))),
    *experts("severity features", "e2e severity", "features", ("sf_ratio", "disease")),
    *experts("pretrained", "e2e severity from biomarkers", "features", ("severity",)),
    # As published, experts learn from outputs on clips that the backbone was trained on. Here
    # those outputs come from a backbone that did not see the clip.
    Arm(
        "biomarkers cross-fitted",
        biomarkers,
        video,
        label="biomarkers",
        pretrained=IMAGENET,
        reads="biomarkers",
        crossfit=2,
        search=search,
    ),
    *experts("cross-fitted biomarkers", "biomarkers cross-fitted", "outputs"),
    # Table 6: the same with another backbone.
    Arm(
        "biomarkers I3D",
        partial(biomarkers, backbone=i3d),
        video,
        label="biomarkers",
        search=search,
    ),
    Arm(
        "e2e severity I3D",
        partial(end_to_end["severity"], backbone=i3d),
        balanced["severity"],
        label="severity",
        search=search,
    ),
    *experts("biomarkers I3D", "biomarkers I3D", "outputs", ("severity",)),
    *experts("e2e I3D", "e2e severity I3D", "features", ("severity",)),
)
I3D_ARMS = tuple(arm.name for arm in ARMS if "I3D" in arm.name)

# AUC and accuracy in percent with their standard deviation over folds (Table 1), for severity,
# S/F ratio and disease.
TABLE_1 = {
    "e2e": """
        E2E   81.5 1.0 57.6 2.8  54.6 4.3 29.6 1.5  59.2 1.8 29.2 2.3
        DT    68.2 2.0 55.6 2.8  52.9 2.8 32.1 5.0  51.8 2.0 26.5 1.0
        SVM   80.5 1.9 57.8 2.3  55.4 2.5 31.3 4.7  58.2 0.4 26.9 0.8
        RF    81.3 0.2 59.1 0.8  56.1 1.7 34.8 2.5  58.7 1.0 29.0 1.3
        AB    73.2 4.8 50.4 8.6  54.4 3.2 31.3 2.9  51.9 2.8 18.5 10.3
        NN    74.6 0.7 56.0 3.0  52.5 0.9 26.8 3.6  54.6 1.7 28.8 2.8
        MLP   80.3 0.8 59.9 1.3  54.2 2.3 32.7 3.1  57.7 1.8 29.2 1.5
        MLP-L 79.5 1.7 59.3 1.8  54.0 3.1 34.6 2.0  57.2 0.8 28.6 1.8""",
    "biomarkers": """
        DT    68.3 2.5 54.1 4.5  55.3 1.7 35.2 2.7  53.7 2.3 24.7 2.2
        SVM   82.9 1.3 61.3 2.1  61.7 2.2 35.8 4.1  64.2 3.7 24.1 1.5
        RF    81.2 1.7 60.3 3.2  60.5 2.1 38.5 1.9  61.2 3.0 28.4 0.9
        AB    72.7 2.3 50.8 2.0  59.3 3.7 40.3 4.8  56.2 3.6 17.9 5.3
        NN    76.2 3.4 54.1 2.5  52.8 2.5 29.0 3.5  54.5 5.2 20.8 3.4
        MLP   83.2 1.4 62.1 2.0  61.0 1.7 37.4 1.3  63.7 3.5 25.3 2.0
        MLP-L 81.6 0.9 61.1 1.5  57.4 1.7 36.6 4.1  61.1 4.4 29.2 1.8""",
    "pretrained": """
        E2E   82.4 2.0 57.4 0.5
        DT    68.7 3.4 57.8 3.7
        SVM   81.9 2.7 60.5 3.6
        RF    81.6 3.3 61.1 2.5
        AB    71.2 3.4 47.9 13.8
        NN    76.5 2.4 61.1 0.5
        MLP   82.6 2.3 61.7 3.6
        MLP-L 80.6 2.1 62.6 2.0""",
    "severity features": """
        DT    56.4 1.7 37.2 1.6  53.7 0.6 22.6 2.0
        SVM   60.2 1.9 33.5 2.6  59.3 2.7 20.2 2.8
        RF    58.2 1.2 38.9 2.2  59.4 1.8 26.1 2.0
        AB    56.8 3.4 38.3 3.5  56.6 1.8 16.9 4.1
        NN    56.4 0.8 28.8 3.0  53.7 3.5 17.5 2.8
        MLP   59.7 2.6 37.0 2.0  60.1 1.7 25.7 2.0
        MLP-L 57.9 2.9 37.2 2.6  59.5 1.6 25.9 1.3""",
}

# Precision and F1 of severity, which only Table 7 prints.
TABLE_7 = {
    "e2e": """
        E2E 58.42 2.50 57.01 3.16
        DT 55.65 2.82 55.27 2.98
        SVM 58.46 2.24 57.47 1.99
        RF 59.52 0.46 58.41 0.60
        AB 47.47 10.66 45.07 11.79
        NN 57.06 3.36 55.97 3.16
        MLP 60.19 1.59 59.48 0.94
        MLP-L 59.46 2.06 58.85 1.37""",
    "biomarkers": """
        DT 54.55 4.59 54.12 4.52
        SVM 62.12 2.14 61.43 2.06
        RF 61.10 3.15 60.27 3.27
        AB 55.46 2.53 48.80 1.26
        NN 54.58 2.14 54.15 2.34
        MLP 62.83 1.70 62.16 2.10
        MLP-L 62.03 1.27 61.20 1.25""",
}

Numbers = dict[str, dict[str, tuple[float, float | None]]]


def published() -> Numbers:
    """The printed tables by arm and metric, as fractions of 1."""
    table: Numbers = {
        "biomarkers": {
            "accuracy": (0.764, 0.010),
            "precision": (0.708, 0.001),
            "f1": (0.730, 0.005),
        }
    }
    for of, text in TABLE_1.items():
        labels = {"pretrained": LABELS[:1], "severity features": LABELS[1:]}.get(of, LABELS)
        for kind, pairs in _read(text):
            for label, (auc, accuracy) in zip(
                labels, zip(pairs[::2], pairs[1::2], strict=True), strict=True
            ):
                table[_arm(kind, of, label)] = {"auc": auc, "accuracy": accuracy}
    for of, text in TABLE_7.items():
        for kind, (precision, f1) in _read(text):
            table[_arm(kind, of, "severity")] |= {"precision": precision, "f1": f1}
    return table


def _read(text: str) -> list[tuple[str, list[tuple[float, float]]]]:
    rows = []
    for line in text.split("\n")[1:]:
        kind, *numbers = line.split()
        values = [round(float(number) / 100, 5) for number in numbers]
        rows.append((kind, list(zip(values[::2], values[1::2], strict=True))))
    return rows


def _arm(kind: str, of: str, label: str) -> str:
    """The arm of a printed row. Its SVM is SVC of that time, with the probabilities of LIBSVM."""
    if kind != "E2E":
        return f"{'SVM-pairwise' if kind == 'SVM' else kind} on {of}, {label}"
    return "e2e severity from biomarkers" if of == "pretrained" else f"e2e {label}"


CLAIMS = (
    *(
        Claim(
            f"Experts on biomarkers {do} better than end-to-end training.",
            metric="auc",
            better=f"{kind} on biomarkers, {label}",
            than=f"e2e {label}",
        )
        for do, kind, label in (
            ("classify severity", "MLP", "severity"),
            ("predict the S/F ratio", "SVM-pairwise", "sf_ratio"),
            ("diagnose", "SVM-pairwise", "disease"),
        )
    ),
    Claim(
        "Starting from biomarkers improves the end-to-end severity network.",
        metric="auc",
        better="e2e severity from biomarkers",
        than="e2e severity",
    ),
    Claim(
        "Biomarkers say more of the disease than the features of a severity network.",
        metric="auc",
        better="SVM-pairwise on biomarkers, disease",
        than="SVM-pairwise on severity features, disease",
    ),
)

REMARKS = {
    "costs": "The paper, Table 1: 194 minutes for each of three networks trained end to end, 173 "
    "for the biomarkers, which serve all labels, and one to three minutes for each expert.",
    "external": "The place of Table 3 of the paper: 21 linear clips of POCOVID, on which experts "
    "on biomarkers generalise better than networks trained end to end. The preprint prints its "
    "values as an image; they are not entered here.",
    "raters": "The place of Table 4 of the paper: agreement with a specialist on severity. A "
    "trainee agreed in 56 % of clips; the preprint prints the other values as an image.",
}

SMOKE = Size(
    recipe={"epochs": 2, "batch": 4, "lr": 1e-3, "val_samples": 1},
    task={"view": View(num_frames=4, height=48, width=48, num_samples=2), "fits": 1},
    net={"width": 8, "dropout": 0.1},
    leave_out=tuple(name for name in I3D_ARMS if " on " in name and not name.startswith("MLP on")),
    phantom={"patients": 24, "clips": 2, "frames": 12, "size": 96},
)

# A rate that falls to nothing within the run instead of waiting for a plateau.
FALLING = {
    "weight_decay": 0.05, "warmup": 0.1, "cosine": True, "plateau": None, "val_samples": 1,
}  # fmt: skip

# Two minutes on two cores, with enough patients for a result and too little training for a claim.
SHOWN = (
    "intensity", "prior, biomarkers", "logistic, biomarkers", "prior, severity",
    "logistic, severity", "biomarkers", "e2e severity", "SVM on biomarkers, severity",
    "RF on biomarkers, severity", "MLP on biomarkers, severity",
)  # fmt: skip
DEMO = Size(
    recipe={"epochs": 12, "batch": 16, "lr": 2e-3, **FALLING},
    task={
        "backbone": partial(TSM, width=16, layers=(1, 1, 1, 1), dropout=0.2),
        "view": View(num_frames=4, height=64, width=64, num_samples=2),
        "monitor": "auc",
        "fits": 1,
    },
    leave_out=tuple(arm.name for arm in ARMS if arm.name not in SHOWN),
    folds=fixed_test(parts=4, cv=1, stratify="severity"),
    phantom={"patients": 880, "clips": 2, "frames": 8, "size": 64, "masks": "none"},
)

# Two cores and a hundred clips: a quarter of the width and of the frames.
LAPTOP = Size(
    recipe={"epochs": 60, "batch": 8, "lr": 1e-3, **FALLING},
    task={
        "backbone": partial(TSM, width=16, dropout=0.5),
        "view": View(num_frames=4, height=96, width=96, num_samples=4),
        "monitor": "auc",
    },
    leave_out=I3D_ARMS,  # one takes six times as long as a TSM
    phantom={"patients": 48, "clips": 4, "frames": 40, "size": 160},
)

EXPERIMENT = Experiment(
    name="biomarkers",
    title="Lung signs as a stepping stone: biomarkers, experts and end-to-end training",
    folds=fixed_test(parts=4, cv=3, stratify="severity"),
    arms=ARMS,
    metrics=("auc", "accuracy", "precision", "f1"),
    published=published(),
    claims=CLAIMS,
    remarks=REMARKS,
    sizes={"smoke": SMOKE, "demo": DEMO, "laptop": LAPTOP},
)
