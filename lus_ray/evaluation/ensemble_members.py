"""Members of an ensemble that have learned next to nothing, and drag the others down.

The mean over members counts each alike, so that one that knows nothing takes a vote from the
others. The report says so where the ensemble scores below its best member.
"""

from collections.abc import Iterable, Sequence

from lus_ray.evaluation.scored_arms import Arms, first_metric
from lus_ray.experiment import TRIAL_SIZES
from lus_ray.runs.manifest import ArmRecord

WEAK = 0.5
"""A member that scores less than this share of the best one has learned next to nothing."""


def describe(
    records: Iterable[ArmRecord], arms: Arms, metrics: Sequence[str], *, size: str | None
) -> list[str]:
    """A sentence for each ensemble that weak members pull below its best one.

    None at a size that only shows that the study runs: there every network is hardly trained.
    """
    if size in TRIAL_SIZES:
        return []
    sentences = []
    for record in records:
        members = [arms[name] for name in dict.fromkeys(record.members) if name in arms]
        if len(members) < 2:
            continue
        metric = first_metric(members, metrics)
        scores = {member.name: member.mean(metric) for member in members}
        best = max(scores, key=lambda name: scores[name])
        weak = {name: score for name, score in scores.items() if score < WEAK * scores[best]}
        if weak and arms[record.name].mean(metric) < scores[best]:
            named = " and ".join(f"{name!r} ({_percent(score)})" for name, score in weak.items())
            sentences.append(
                f"{record.name!r} has {_percent(arms[record.name].mean(metric))} in the first "
                f"metric, less than its member {best!r} ({_percent(scores[best])}): {named} "
                f"learned next to nothing and drag{'s' * (len(weak) == 1)} the ensemble down; "
                "train longer, or leave it out."
            )
    return sentences


def _percent(score: float) -> str:
    return f"{100 * score:.1f} %"
