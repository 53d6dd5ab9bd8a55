"""What one request to the service may cost, in values that anybody can read.

`GET /v1/models` and the OpenAPI page show them; `serve/config.yaml` may replace any of them.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from lus_ray.data.decoding.decoder import DecodeLimits

CLIP = DecodeLimits(
    frame_pixels=2**23, num_frames=2_000, stored_bytes=2**27, seconds=20.0, memory_bytes=2**31
)
"""One clip: tighter than an ingest, as nobody watches and many may come at once."""


@dataclass(frozen=True)
class ServiceLimits:
    """What one request may cost, and how many may wait.

    `body_bytes` of an upload; `clip` of its decoding; `max_side` pixels of the frames that models
    read; `request_seconds` from the first byte to the answer; `idle_seconds` between two pieces of
    a body, after which it must come at `bytes_per_second` or more on the average; `num_receiving`
    bodies come in at a time; `num_at_work` requests are answered at a time by one ingress and
    `num_waiting` more wait, the next is told to come again after `retry_after_seconds`; a stage
    that dies under a request is asked `num_attempts` times.
    """

    body_bytes: int = 64 * 2**20
    clip: DecodeLimits = field(default_factory=lambda: CLIP)
    max_side: int = 512
    request_seconds: float = 60.0
    idle_seconds: float = 10.0
    bytes_per_second: float = 4096.0
    num_receiving: int = 64
    num_at_work: int = 8
    num_waiting: int = 16
    retry_after_seconds: int = 1
    num_attempts: int = 4

    def contents(self) -> dict[str, Any]:
        """The values as JSON, those of a clip in one level with the others."""
        values = asdict(self)
        return {**values.pop("clip"), **values}
