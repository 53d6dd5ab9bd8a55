"""Actors and placement groups on Ray's dashboard bear the names of their cells."""

import pytest

from experiments.biomarkers import EXPERIMENT
from lus_ray.orchestration.dashboard import SHARED, ActorNames, name_actors
from lus_ray.runs.cell import Cell

NETWORK, EXPERT = Cell("e2e severity", 1), Cell("DT on e2e, severity", 1)


def config(cell, attempt=0):
    return {"cell": dict(vars(cell)), "attempt": attempt}


@pytest.mark.parametrize(
    ("cell", "attempt", "reuse", "name"),
    [
        (NETWORK, 0, True, "e2e severity/fold1"),
        (NETWORK, 2, True, "e2e severity/fold1 retry 2"),  # a group's name is unique
        (EXPERT, 0, True, SHARED),
        (EXPERT, 0, False, "DT on e2e, severity/fold1"),
    ],
)
def test_an_actor_that_is_not_reused_has_the_name_of_its_cell(cell, attempt, reuse, name):
    names = ActorNames(EXPERIMENT.at("smoke"), reuse=reuse)
    assert names(config(cell, attempt)) == name
    assert names.group(config(cell, attempt)) == ({} if name == SHARED else {"name": name})


def test_ray_reads_the_name_from_the_actor():
    names = ActorNames(EXPERIMENT.at("smoke"), reuse=True)
    actor_class = name_actors(lambda config: None, names)
    actor = actor_class.__new__(actor_class)
    actor.config = config(NETWORK)
    assert (repr(actor), actor_class.__qualname__) == ("e2e severity/fold1", "CellActor")
