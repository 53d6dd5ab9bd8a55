"""Progress lines of slow phases: no ten seconds without a line."""

import math
import threading
import time
from collections.abc import Callable

SILENCE_S, NEXT_S = 7.0, 1.0


class PhaseLog:
    """Passes messages on, and repeats the last step with its time while nothing new happens.

    A step ends with "..."; other messages report what has happened. The first `step` is printed
    only if it is slow, so that bad input stays one line. `describe` returns what is repeated in
    place of the step, or "" for the step. The repetition ends with `stop` or with the block. A
    block right after another one continues its silence.
    """

    ended, silent_since = -math.inf, 0.0
    """Of the last block."""

    def __init__(
        self, echo: Callable[[str], None], step: str = "", *, describe: Callable[[], str] = str,
        silence_s: float = SILENCE_S,
    ) -> None:  # fmt: skip
        self.echo, self.describe, self.silence_s = echo, describe, silence_s
        self.start = now = time.monotonic()
        self.last = PhaseLog.silent_since if now - PhaseLog.ended < NEXT_S else now
        self.step = step
        self.stopped, self.lock = threading.Event(), threading.RLock()
        self.thread = threading.Thread(target=self._repeat, name="lus-phase", daemon=True)

    def __enter__(self) -> "PhaseLog":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        PhaseLog.ended, PhaseLog.silent_since = time.monotonic(), self.last

    def notify(self, text: str) -> None:
        with self.lock:
            self.last = time.monotonic()
            if text.endswith("..."):
                self.step, self.start = text, self.last
            self.echo(text)

    def stop(self) -> None:
        self.stopped.set()

    def _repeat(self) -> None:
        while not self.stopped.wait(self.silence_s / 10):
            with self.lock:
                now = time.monotonic()
                if now - self.last < self.silence_s or self.stopped.is_set():
                    continue
                step = f"{self.step} ({now - self.start:.0f} s)" if self.step else ""
                if text := self.describe() or step:
                    self.last = now
                    self.echo(f"still {text}")
