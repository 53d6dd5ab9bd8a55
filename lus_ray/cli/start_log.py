"""Progress of a slow start: no ten seconds without a line."""

import threading
import time
from collections.abc import Callable

SILENCE_S = 7.0


class StartLog:
    """Passes messages on, and repeats the last step with the time while nothing new happens.

    A step ends with "..."; other messages report what has happened. The repetition ends with
    `stop` or with the block.
    """

    def __init__(self, echo: Callable[[str], None], *, silence_s: float = SILENCE_S) -> None:
        self.echo, self.silence_s = echo, silence_s
        self.start = self.last = time.monotonic()
        self.step = ""
        self.stopped, self.lock = threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> "StartLog":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def notify(self, text: str) -> None:
        with self.lock:
            if text.endswith("..."):
                self.step = text
            self.last = time.monotonic()
            self.echo(text)

    def stop(self) -> None:
        self.stopped.set()

    def _repeat(self) -> None:
        while not self.stopped.wait(self.silence_s / 10):
            with self.lock:
                now = time.monotonic()
                if now - self.last >= self.silence_s and not self.stopped.is_set():
                    self.last = now
                    self.echo(f"still {self.step} ({now - self.start:.0f} s)")
