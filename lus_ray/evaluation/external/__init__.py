"""A run on the clips of another store: what is measured there, and beside its own test clips."""

from lus_ray.evaluation.external.measure import measure, measure_subgroups, read_side
from lus_ray.evaluation.external.schema import EXTERNAL, ExternalResults

__all__ = ["EXTERNAL", "ExternalResults", "measure", "measure_subgroups", "read_side"]
