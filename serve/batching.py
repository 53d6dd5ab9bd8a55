"""Asks at once for what waits: a hop between processes, or a pass, is paid once for many.

Why no waiting for a while: a group goes at once where none is on its way, or where it is full;
else it gathers until the one on its way is back (Nagle's rule for packets, RFC 896). What comes
alone is not held up, and what comes in a crowd goes together.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Together(Generic[Asked, Answer]):
    """Asks for groups of at most `most`.

    `ask` gives as many answers as it gets questions, in their order. Where it fails on a group,
    it is asked for each of it alone, so that one fails alone.
    """

    def __init__(self, ask: Callable[[list[Asked]], Awaitable[list[Answer]]], *, most: int) -> None:
        self.ask, self.most = ask, most
        self.waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self.calls: set[asyncio.Task[None]] = set()

    async def __call__(self, one: Asked) -> Answer:
        """The answer to one question."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting.append((one, answer))
        self._send()
        return await answer

    def _send(self) -> None:
        while self.waiting and (not self.calls or len(self.waiting) >= self.most):
            group = [self.waiting.popleft() for _ in range(min(self.most, len(self.waiting)))]
            group = [(one, answer) for one, answer in group if not answer.cancelled()]
            if group:
                call = asyncio.create_task(self._call(group))
                self.calls.add(call)
                call.add_done_callback(self._called)

    def _called(self, call: "asyncio.Task[None]") -> None:
        self.calls.discard(call)
        self._send()

    async def _call(self, group: list[tuple[Asked, "asyncio.Future[Answer]"]]) -> None:
        asked = [one for one, _ in group]
        said: list[Answer | BaseException]
        try:
            said = list(await self.ask(asked))
        except Exception as error:
            said = [error]
            if len(asked) > 1:
                said = await asyncio.gather(*map(self._alone, asked), return_exceptions=True)
        for (_, answer), value in zip(group, said, strict=True):
            if answer.cancelled():
                continue
            if isinstance(value, BaseException):
                answer.set_exception(value)
            else:
                answer.set_result(value)

    async def _alone(self, one: Asked) -> Answer:
        (answer,) = await self.ask([one])
        return answer
