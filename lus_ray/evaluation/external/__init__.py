"""A run on the clips of another store: what is measured there, and beside its own test clips."""

from lus_ray.evaluation.external.measure import measure, subgroups_of_run
from lus_ray.evaluation.external.schema import EXTERNAL, ExternalResults

__all__ = ["EXTERNAL", "ExternalResults", "measure", "subgroups_of_run"]
