"""Groups waiting items, so that a hop between processes or a forward pass is paid once for many.

Why no fixed delay: a group is sent at once if none is under way or if it is full; otherwise it
gathers until the one under way returns (Nagle's algorithm, RFC 896). A single item never waits,
and a burst is sent together.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Calls `process` with groups of at most `limit` items.

    `process` returns one result per item, in order. If it fails on a group, it is called for each
    item alone, so that only the faulty one fails.
    """

    def __init__(
        self, process: Callable[[list[Item]], Awaitable[list[Result]]], *, limit: int
    ) -> None:
        self.process, self.limit = process, limit
        self.waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self.calls: set[asyncio.Task[None]] = set()

    async def __call__(self, item: Item) -> Result:
        (future,) = self._add([item])
        return await future

    async def for_all(self, items: Iterable[Item]) -> list[Result]:
        """The results of items that go together, which one by one would not."""
        return await asyncio.gather(*self._add(items))

    def _add(self, items: Iterable[Item]) -> "list[asyncio.Future[Result]]":
        loop = asyncio.get_running_loop()
        added: list[tuple[Item, asyncio.Future[Result]]] = [
            (item, loop.create_future()) for item in items
        ]
        self.waiting.extend(added)
        self._send()
        return [future for _, future in added]

    def _send(self) -> None:
        while self.waiting and (not self.calls or len(self.waiting) >= self.limit):
            group = [self.waiting.popleft() for _ in range(min(self.limit, len(self.waiting)))]
            group = [(item, future) for item, future in group if not future.cancelled()]
            if group:
                call = asyncio.create_task(self._call(group))
                self.calls.add(call)
                call.add_done_callback(self._finish)

    def _finish(self, call: "asyncio.Task[None]") -> None:
        self.calls.discard(call)
        self._send()

    async def _call(self, group: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        items = [item for item, _ in group]
        results: list[Result | BaseException]
        try:
            results = list(await self.process(items))
        except Exception as error:
            results = [error]
            if len(items) > 1:
                alone = map(self._process_alone, items)
                results = await asyncio.gather(*alone, return_exceptions=True)
        for (_, future), result in zip(group, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    async def _process_alone(self, item: Item) -> Result:
        (result,) = await self.process([item])
        return result


class JobThread:
    """One thread for short jobs beside the event loop; jobs of one turn of the loop run in one go.

    Why: threads that compute in Python only wait for one another, and each end wakes the loop.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self.waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    async def __call__(self, function: Callable[..., Result], *args: Any) -> Result:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        if not self.waiting:
            loop.call_soon(self._start, loop)
        self.waiting.append((partial(function, *args), future))
        return await future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        jobs, self.waiting = self.waiting, []
        self.thread.submit(self._run, jobs, loop)

    def _run(
        self, jobs: list[tuple[Callable[[], Any], "asyncio.Future[Any]"]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        ends: list[Callable[[], None]] = []
        for job, future in jobs:
            try:
                ends.append(partial(future.set_result, job()))
            except Exception as error:
                ends.append(partial(future.set_exception, error))
        loop.call_soon_threadsafe(_finish, [future for _, future in jobs], ends)


def _finish(futures: "list[asyncio.Future[Any]]", ends: list[Callable[[], None]]) -> None:
    for future, end in zip(futures, ends, strict=True):
        if not future.cancelled():
            end()
