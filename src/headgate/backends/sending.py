"""A long request on its way out in steps, so that others are served in between and no second copy waits.

Must not know what is sent, nor what comes back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from headgate.core.cut import Pieces

STEP_BYTES = 262_144
"""Handed to the kernel in one turn of the loop: it copies this much in a tenth of a millisecond."""

Step = list[bytes | memoryview]


class Sending:
    """One request that is longer than a step."""

    __slots__ = ("_due", "_held", "_loop", "_steps", "_transport", "left_bytes")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, head: bytes, body: bytes | Pieces
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._steps = deque(_steps(body))
        self._steps[0].insert(0, head)
        self._held = False
        """The transport has enough for now."""
        self._due = False
        """The next step is planned."""
        self.left_bytes = len(head) + len(body)
        """What the transport has not got yet."""
        self._send()

    def hold(self) -> None:
        """The upstream does not keep up."""
        self._held = True

    def go_on(self) -> None:
        """The upstream has caught up."""
        self._held = False
        self._plan()

    def stop(self) -> None:
        """Nothing more is to be sent."""
        self._steps.clear()
        self.left_bytes = 0

    def _plan(self) -> None:
        if self._steps and not self._due and not self._held:
            self._due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._due = False
        if self._steps and not self._held:
            step = self._steps.popleft()
            self.left_bytes -= sum(map(len, step))
            self._transport.writelines(step)
            self._plan()


def _steps(body: bytes | Pieces) -> Iterator[Step]:
    """The body in parts of about STEP_BYTES, none of it copied."""
    step: Step = []
    size = 0
    for buffer in (body,) if isinstance(body, bytes) else body.buffers:
        view = memoryview(buffer)
        for start in range(0, len(buffer), STEP_BYTES):
            step.append(view[start : start + STEP_BYTES])
            size += len(step[-1])
            if size >= STEP_BYTES:
                yield step
                step, size = [], 0
    if step:
        yield step
