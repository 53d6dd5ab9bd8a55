"""A function that runs while the main thread imports, and ends the imports if it fails."""

import _thread
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Background = TypeVar("Background")
Block = TypeVar("Block")


def run_beside(
    background: Callable[[], Background], block: Callable[[], Block]
) -> tuple[Background, Block]:
    """The results of both; `background` runs in a thread, `block` in this one, the main thread.

    An error of `background` interrupts `block`, as Ctrl-C would, and is raised: importing torch
    takes seconds, after which nobody needs the error of a bad file. It goes before one of `block`.
    """
    results: list[Background] = []
    failures: list[BaseException] = []
    lock, is_open = threading.Lock(), [True]

    def work() -> None:
        try:
            results.append(background())
        except BaseException as error:
            with lock:
                failures.append(error)
                if is_open:
                    _thread.interrupt_main()

    thread = threading.Thread(target=work, daemon=True)
    try:
        try:
            thread.start()
            result = block()
        finally:
            with lock:
                is_open.clear()
            time.sleep(0)  # an interrupt on its way arrives here
    except BaseException as error:
        if isinstance(error, Exception):  # of two errors, always the same one
            thread.join()
        if failures:
            raise failures[0] from None
        raise
    thread.join()
    if failures:
        raise failures[0]
    return results[0], result
