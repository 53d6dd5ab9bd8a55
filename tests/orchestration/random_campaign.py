"""One random campaign, as a process of its own: `python -m tests.orchestration.random_campaign`.

Arguments: the cluster's address, a seed, a store, a run folder. Prints "refused: ..." where the
planner refuses, and ends with 0 where every cell is finished or the plan was refused.
"""

import random
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments.biomarkers import EXPERIMENT
from lus_ray.data.loading import memmap, shared_memory
from lus_ray.data.transforms.view import View
from lus_ray.errors import PlanError
from lus_ray.experiment import Arm, Experiment
from lus_ray.orchestration import campaign
from lus_ray.runs.plan import RunRequest
from lus_ray.tasks import IntensityFeatures

VIEW = View(num_frames=2, height=24, width=32)


def drawn(chance: random.Random) -> tuple[Experiment, bool]:
    """A small experiment, and whether its clips are to be streamed."""
    smoke = EXPERIMENT.at("smoke")
    network = smoke.arm("e2e severity")
    assert network.recipe is not None
    plain = [
        Arm(f"plain {n}", partial(IntensityFeatures, view=VIEW))
        for n in range(chance.randint(0, 2))
    ]
    trained = []
    for number in range(chance.randint(1, 2)):
        workers = chance.choice((1, 1, 2, 3))
        # Without a real GPU, workers of Ray Train cannot talk to each other over one.
        gpus = chance.choice((0.0, 1 / 3, 0.5, 1.0)) if workers == 1 else 0.0
        recipe = replace(network.recipe, epochs=1, batch=6, workers=workers, gpus=gpus)
        trained.append(replace(network, name=f"network {number}", recipe=recipe))
    arms = [*plain, *trained]
    chance.shuffle(arms)
    experiment = Experiment("random", "Random", smoke.folds, tuple(arms), ("auc",))
    return experiment, chance.random() < 0.25


def main() -> int:
    """Run it."""
    address, seed, store, out = sys.argv[1:]
    chance = random.Random(int(seed))
    experiment, streamed = drawn(chance)
    folds = tuple(range(chance.randint(1, 2)))
    if streamed:
        shared_memory.SHARE, memmap.SPARE_BYTES = 0.0, 1 << 60
    print(
        "arms:", [(a.name, a.recipe and (a.recipe.workers, a.recipe.gpus)) for a in experiment.arms]
    )
    print("streamed:", streamed, "folds:", folds, flush=True)
    try:
        request = RunRequest(
            experiment, data=Path(store), out=Path(out), size="smoke", address=address, folds=folds
        )
        campaign.run(request)
    except PlanError as error:
        print(f"refused: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
