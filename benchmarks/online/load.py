"""A small load generator: keep-alive connections that each send the next request when the last is answered."""

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Load:
    """What came back."""

    seconds: float
    latencies_ms: list[float]
    statuses: Counter[int]
    errors: int = 0
    status_latencies_ms: dict[int, list[float]] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    def percentile(self, share: float, status: int | None = None) -> float:
        """Latency in ms below which `share` of the answers came."""
        found = sorted(self.latencies_ms if status is None else self.status_latencies_ms.get(status, []))
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")


class _Connection(asyncio.Protocol):
    def __init__(self, load: "_Run") -> None:
        self.run, self.buffer, self.began = load, b"", 0.0
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._next()

    def _next(self) -> None:
        body = self.run.body()
        if body is None or self.transport.is_closing():
            self.transport.close()
            return
        self.began = time.perf_counter()
        self.transport.write(self.run.head + b"%d\r\n\r\n" % len(body) + body)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        status = int(head[9:12])
        self.run.answered(status, (time.perf_counter() - self.began) * 1000)
        if b"connection: close" in lower:
            self.transport.close()
        elif status == 503 and self.run.pause_s:
            asyncio.get_running_loop().call_later(random.uniform(0, 2 * self.run.pause_s), self._next)
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(exc)


class _Run:
    def __init__(
        self, head: bytes, next_body: Callable[[], bytes], *, seconds: float, pause_s: float, warm_s: float
    ) -> None:
        self.head, self.next_body, self.pause_s = head, next_body, pause_s
        self.counts_from = time.perf_counter() + warm_s
        self.until = self.counts_from + seconds
        self.found = Load(0.0, [], Counter())

    def body(self) -> bytes | None:
        return self.next_body() if time.perf_counter() < self.until else None

    def answered(self, status: int, ms: float) -> None:
        if time.perf_counter() < self.counts_from:
            return
        self.found.statuses[status] += 1
        self.found.latencies_ms.append(ms)
        self.found.status_latencies_ms.setdefault(status, []).append(ms)


async def _drive(run: _Run, host: str, port: int, connections: int, tls: ssl.SSLContext | None) -> None:
    async def one() -> None:
        while time.perf_counter() < run.until:
            try:
                loop = asyncio.get_running_loop()
                _, protocol = await loop.create_connection(lambda: _Connection(run), host, port, ssl=tls)
            except OSError:
                run.found.errors += 1
                await asyncio.sleep(0.01)
                continue
            left = run.until + 30 - time.perf_counter()
            try:
                if await asyncio.wait_for(protocol.finished, left):
                    run.found.errors += 1
            except TimeoutError:
                run.found.errors += 1

    await asyncio.gather(*(one() for _ in range(connections)))


def load(
    port: int, next_body: Callable[[], bytes], *, connections: int, seconds: float, path: str = "/invocations",
    host: str = "127.0.0.1", headers: str = "", pause_s: float = 0.0, warm_s: float = 0.0,
    tls: ssl.SSLContext | None = None,
) -> Load:  # fmt: skip
    """Post `next_body()` over and over for some seconds; after a 503 a connection waits `pause_s` on average.

    What is answered in the first `warm_s`, while connections are being made, does not count.
    """
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}Content-Length: "
    run = _Run(head.encode(), next_body, seconds=seconds, pause_s=pause_s, warm_s=warm_s)
    began = time.perf_counter() + warm_s
    asyncio.run(_drive(run, host, port, connections, tls))
    run.found.seconds = time.perf_counter() - began
    return run.found
