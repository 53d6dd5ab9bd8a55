"""Written reports that tests only read. Drawing is slow, so their charts are empty."""

import pytest

from lus_ray import report
from lus_ray.evaluation import domains
from lus_ray.figures import charts
from lus_ray.report import clip_timeline
from tests.evaluation.diagnosis_run import write_diagnosis_run
from tests.evaluation.domain_run import ARMS, OTHERS, write_domain_run
from tests.evaluation.frame_run import FRAMES, LEAKY, write_frame_run
from tests.evaluation.mask_run import DENSE, UNET, write_mask_run
from tests.evaluation.run_folders import arm, write_cell, write_pictures, write_run

HOSTILE = 'MLP <script>alert("x")</script> | on signs, severity'
CLAIM = {"text": "a < b", "metric": "auc", "better": HOSTILE, "than": "class prior"}
EXAMPLES = ("phantom/p00-0#0", "phantom/p01-0#1")


def write_without_charts(out):
    """A report with empty charts and few draws."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (charts, clip_timeline):
            patch.setattr(module, "render_svg", lambda draw, **settings: "<svg></svg>")
        patch.setattr(domains, "NUM_DRAWS", 1000)
        return report.write(out, num_draws=20)


@pytest.fixture(scope="session")
def clip_report(tmp_path_factory):
    """Three arms of two labels, one cell missing."""
    out = tmp_path_factory.mktemp("clips")
    prior = arm("class prior", baseline=True)
    signs = arm("signs", label="biomarkers", recipe={"epochs": 3})
    expert = arm(HOSTILE, reads="signs")
    write_run(out, [signs, prior, expert], claims=[CLAIM])
    for fold in range(3):
        write_cell(out, signs, fold, skill=0.3)
        write_cell(out, prior, fold, skill=0.0, seed=1)
        if fold < 2:
            write_cell(out, expert, fold, skill=0.6, seed=2)
    return write_without_charts(out)


@pytest.fixture(scope="session")
def frame_report(tmp_path_factory):
    """Scores of frames and clips, with everything that the report can show of them."""
    out = write_frame_run(tmp_path_factory.mktemp("frames"), supervision="weak")
    for entry in (FRAMES, LEAKY):
        captions = [{"example": name, "caption": "score 0, predicted 2"} for name in EXAMPLES]
        write_pictures(out, entry, 0, captions)
    return write_without_charts(out)


@pytest.fixture(scope="session")
def mask_report(tmp_path_factory):
    """Masks of four schemes with a gap, a claim and pictures."""
    out = write_mask_run(tmp_path_factory.mktemp("masks"))
    for entry in (UNET, DENSE):
        masks = [{"example": name, "caption": "IoU 0.6", "kind": "masks"} for name in EXAMPLES]
        write_pictures(out, entry, 0, [*masks, {"example": "a#0", "caption": "attention"}])
    return write_without_charts(out)


@pytest.fixture(scope="session")
def domain_report(tmp_path_factory):
    """Thirteen arms without a leak, a variant of one, and one that leaks, on two domains."""
    out = tmp_path_factory.mktemp("domains")
    return write_without_charts(write_domain_run(out, arms=[*ARMS, *OTHERS]))


@pytest.fixture(scope="session")
def diagnosis_report(tmp_path_factory):
    return write_without_charts(write_diagnosis_run(tmp_path_factory.mktemp("diagnosis")))
