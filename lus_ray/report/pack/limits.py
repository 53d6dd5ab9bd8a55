"""What limits a run, as far as the run itself knows."""

from lus_ray.metrics.bootstrap import MIN_PATIENTS
from lus_ray.report.pack.facts import RunFacts
from lus_ray.report.pack.wording import count, quote

RESEARCH_ONLY = (
    "For research only. No model of this run is a medical device, and none may guide the diagnosis "
    "or the care of a patient."
)
SYNTHETIC = (
    "All clips of the run are simulated. Scores on them show that the software runs, and say "
    "nothing about real patients."
)


def warnings(facts: RunFacts) -> list[str]:
    """What a reader must know before any number: purpose, data, size, number of patients."""
    found = [RESEARCH_ONLY]
    if facts.is_synthetic:
        found.append(SYNTHETIC)
    elif any(source.is_synthetic for source in facts.sources):
        found.append("Some of the clips are simulated.")
    if facts.is_trial:
        found.append(
            f"This is a trial run of size {facts.contents.size}: small networks, few epochs and "
            "few clips. Its scores are not results of a study."
        )
    number = facts.num_test_patients
    if not any(arm.folds for arm in facts.contents.arms):
        found.append("No cell of the run is finished: there are no scores yet.")
    elif number < MIN_PATIENTS:
        found.append(
            f"Only {count(number, 'patient')} tested the models; intervals below {MIN_PATIENTS} "
            "patients are too narrow."
        )
    if missing := len(facts.contents.missing):
        verb = "is" if missing == 1 else "are"
        found.append(f"The run is not finished: {count(missing, 'cell')} {verb} missing.")
    return found


def limitations(facts: RunFacts) -> list[str]:
    """Everything that the run knows against itself, the warnings first."""
    contents, found = facts.contents, warnings(facts)[1:]
    if contents.seeds == 1:
        found.append("Every network was trained with one seed; the intervals do not cover it.")
    if len(facts.record.data.sources) == 1 and not facts.evaluations:
        found.append(
            "All patients come from one source, and no model was evaluated on another one."
        )
    elif not facts.evaluations:
        found.append("No model was evaluated on the patients of another store.")
    if leaky := [arm.name for arm in contents.arms if arm.leak]:
        found.append(
            f"{count(len(leaky), 'arm')} repeat published protocols that leak between training and "
            f"test, among them {quote(leaky[:3])}; their scores are too good."
        )
    found.append(
        "The best of several models is chosen on the test patients, so it looks better than it is."
    )
    others = [text for text in contents.warnings if not text.startswith("Only ")]  # said above
    return [*found, *others]
