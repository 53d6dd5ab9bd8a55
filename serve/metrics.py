"""Counts and times of an ingress, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Tally:
    """What one replica of the ingress has seen; nothing in it tells one clip from another.

    Each series names its `replica`: several answer on one port, each for itself.
    """

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "lus_answers", "Answers to clips by status; 500 of all requests that failed.",
            ["status", "replica"], registry=self.registry,
        )  # fmt: skip
        self.stages = Histogram(
            "lus_stage_seconds", "Time of a stage for one clip.", ["stage", "replica"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.receiving = self._gauge("lus_clips_receiving", "Clips on their way in.")
        self.at_work = self._gauge("lus_clips_at_work", "Clips being answered.")
        self.waiting = self._gauge("lus_clips_waiting", "Clips that wait.")
        self.models = Gauge(
            "lus_model_parity", "Distance of replayed from stored predictions.",
            ["model", "fingerprint"], registry=self.registry,
        )  # fmt: skip

    def answered(self, status: int, milliseconds: dict[str, float] | None = None) -> None:
        """Count an answer, with the times of its stages where there are any."""
        self.answers.labels(str(status), self.replica).inc()
        for stage, value in (milliseconds or {}).items():
            self.stages.labels(stage, self.replica).observe(value / 1e3)

    def text(self, parity: dict[tuple[str, str], float]) -> bytes:
        """Everything counted, and the models that are served now."""
        self.models.clear()
        for (model, fingerprint), distance in parity.items():
            self.models.labels(model, fingerprint[:12]).set(distance)
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["replica"], registry=self.registry).labels(self.replica)
