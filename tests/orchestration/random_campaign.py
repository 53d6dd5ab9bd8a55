"""One random campaign in a process of its own; prints "refused: ..." if the planner refuses.

python -m tests.orchestration.random_campaign ADDRESS SEED STORE RUN_FOLDER
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


def random_experiment(rng: random.Random) -> Experiment:
    smoke = EXPERIMENT.at("smoke")
    network = smoke.arm("e2e severity")
    assert network.recipe is not None
    features = partial(IntensityFeatures, view=VIEW)
    arms = [Arm(f"plain {n}", features) for n in range(rng.randint(0, 2))]
    for number in range(rng.randint(1, 2)):
        workers = rng.choice((1, 1, 2, 3))
        # Without a real GPU, workers of Ray Train cannot talk to each other over one.
        gpus = rng.choice((0.0, 1 / 3, 0.5, 1.0)) if workers == 1 else 0.0
        recipe = replace(network.recipe, epochs=1, batch=6, workers=workers, gpus=gpus)
        arms.append(replace(network, name=f"network {number}", recipe=recipe))
    rng.shuffle(arms)
    return Experiment("random", "Random", smoke.folds, tuple(arms), ("auc",))


def main() -> None:
    address, seed, store, out = sys.argv[1:]
    rng = random.Random(int(seed))
    experiment, streamed = random_experiment(rng), rng.random() < 0.25
    folds = tuple(range(rng.randint(1, 2)))
    if streamed:
        shared_memory.SHARE, memmap.SPARE_BYTES = 0.0, 1 << 60
    arms = [(arm.name, arm.recipe and (arm.recipe.workers, arm.recipe.gpus))
            for arm in experiment.arms]  # fmt: skip
    print(f"arms: {arms} streamed: {streamed} folds: {folds}", flush=True)
    paths = {"data": Path(store), "out": Path(out)}
    try:
        campaign.run(RunRequest(experiment, **paths, size="smoke", address=address, folds=folds))
    except PlanError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    main()
