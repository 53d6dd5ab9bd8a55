"""A function that runs while the main thread imports, and ends the imports if it fails."""

import _thread
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs `function` in a thread during a block of the main thread.

    An error of the function interrupts the block, as Ctrl-C would, and is raised from it: importing
    torch takes seconds, after which nobody needs the error of a bad file.
    """

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.failure: BaseException | None = None
        self.lock, self.is_open = threading.Lock(), True
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Background[T]":
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        try:
            with self.lock:
                self.is_open = False
            time.sleep(0)  # an interrupt on its way arrives here
        except KeyboardInterrupt:
            if self.failure is None:
                raise
        if self.failure is not None:
            raise self.failure from None

    def result(self) -> T:
        """What the function returned, once it has; its error is raised."""
        self.thread.join()
        if self.failure is not None:
            raise self.failure
        return self.value

    def _run(self) -> None:
        try:
            self.value = self.function()
        except BaseException as error:
            with self.lock:
                self.failure = error
                if self.is_open:
                    _thread.interrupt_main()
