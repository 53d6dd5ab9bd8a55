"""Limits of one request to the service.

`GET /v1/models` lists them; `serve/config.yaml` may replace any of them.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from lus_ray.data.decoding.decoder import DecodeLimits

CLIP_LIMITS = DecodeLimits(
    frame_pixels=2**23, num_frames=2_000, stored_bytes=2**27, seconds=20.0, memory_bytes=2**31
)
"""Stricter than for an ingest: requests are unattended, and many may arrive at once."""


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of one request and of concurrency.

    `body_bytes` limits the upload, `clip` its decoding, `max_side` the frames that models read in
    pixels. `request_seconds` runs from the first byte to the response, `idle_seconds` between two
    pieces of a body, which must then arrive at `bytes_per_second` or faster on average. At most
    `num_receiving` bodies are received at a time; an ingress works on `num_at_work` requests,
    keeps `num_waiting` in its queue and answers further ones with `retry_after_seconds`. A stage
    that dies under a request is called up to `num_attempts` times.
    """

    body_bytes: int = 64 * 2**20
    clip: DecodeLimits = field(default_factory=lambda: CLIP_LIMITS)
    max_side: int = 512
    request_seconds: float = 60.0
    idle_seconds: float = 10.0
    bytes_per_second: float = 4096.0
    num_receiving: int = 64
    num_at_work: int = 8
    num_waiting: int = 16
    retry_after_seconds: int = 1
    num_attempts: int = 4

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {**values.pop("clip"), **values}
