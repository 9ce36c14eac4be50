"""GET /metrics as an ASGI application: who may see it, and in which of Prometheus' formats.

Written in a thread, a metric at a time, so that thousands of lines hold up no stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from itertools import chain
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from headgate.core.operator import operators_only
from headgate.core.ports import Keys
from headgate.telemetry.metrics import Collector

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class MetricsPage:
    """Answers with every metric; `public` may change while it runs."""

    def __init__(self, collector: Collector, keys: Keys, *, public: bool) -> None:
        self._collector = collector
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._keys = keys
        self.public = public

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        headers = dict(scope["headers"])
        if not self.public:
            refusal = operators_only(headers.get(b"authorization", b""), self._keys)
            if refusal is not None:
                await _answer(send, refusal.status, b"application/json", refusal.body())
                return
        encode, kind = choose_encoder(headers.get(b"accept", b"").decode("latin-1"))
        # What is looked up belongs to the loop; what is counted may be read from anywhere.
        body = await asyncio.to_thread(self._write, encode, self._collector.collect())
        await _answer(send, 200, kind.encode(), body)

    def _write(self, encode: Callable[[Any], bytes], ours: Iterable[Metric]) -> bytes:
        written = []
        for metric in chain(ours, self._registry.collect()):
            written.append(encode(_One([metric])))
            time.sleep(0)  # lets the loop have the interpreter between two metrics
        # OpenMetrics ends a page with a mark, and here each metric was a page.
        ends = [page.removesuffix(_END) for page in written]
        return b"".join(ends) + (_END if written and written[0].endswith(_END) else b"")


_END = b"# EOF\n"


class _One:
    """A registry of one metric, for the encoders."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


async def _answer(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
