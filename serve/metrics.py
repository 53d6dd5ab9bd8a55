"""Prometheus metrics of an ingress."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class IngressMetrics:
    """Metrics of one replica, which hold nothing that identifies a clip.

    Several replicas share a port, so every series has the label `replica`.
    """

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self.registry = CollectorRegistry()
        self.responses = Counter(
            "lus_answers", "Responses to clips by status; 500 counts all failed requests.",
            ["status", "replica"], registry=self.registry,
        )  # fmt: skip
        self.stages = Histogram(
            "lus_stage_seconds", "Time of a stage for one clip.", ["stage", "replica"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.receiving = self._gauge("lus_clips_receiving", "Clips being received.")
        self.at_work = self._gauge("lus_clips_at_work", "Clips being processed.")
        self.waiting = self._gauge("lus_clips_waiting", "Clips in the queue.")
        self.models = Gauge(
            "lus_model_parity", "Largest difference from stored predictions.",
            ["model", "fingerprint"], registry=self.registry,
        )  # fmt: skip

    def count_response(self, status: int, timings_ms: dict[str, float] | None = None) -> None:
        self.responses.labels(str(status), self.replica).inc()
        for stage, value in (timings_ms or {}).items():
            self.stages.labels(stage, self.replica).observe(value / 1e3)

    def render(self, parity: dict[tuple[str, str], float]) -> bytes:
        """All metrics as text; `parity` by model id and fingerprint."""
        self.models.clear()
        for (model, fingerprint), difference in parity.items():
            self.models.labels(model, fingerprint[:12]).set(difference)
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, ["replica"], registry=self.registry).labels(self.replica)
