"""How well one target is: its breaker, its rest, what went well and wrong lately. Passive: requests tell it.

It has no clock: whoever tells it something says when. Seconds are the loop's.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import msgspec

from headgate.core.settings_routing import Health as HealthRules

BUCKETS = 6
"""The window moves on in sixths: fine enough for a rate, and six small records for each target."""

SMOOTHING = 8
"""The latency follows an eighth of the way: some tens of requests show a change, one does not."""

SAMPLED = 3
"""Of every four requests, the first one's latency is looked at: it costs more than all else here."""

LATENCY_CLASSES = 24
"""Powers of two in milliseconds; the last one is over two hours."""


class Condition(Enum):
    """What may be sent to a target now."""

    FIT = "fit"
    PROBE = "probe"
    """Its breaker is half open, and one request may pass to find out."""
    RESTING = "resting"
    """It has asked to be left alone for a while."""
    OPEN = "open"
    """Its breaker is open, or half open with a probe under way."""


class Breaker(Enum):
    """The breaker's three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class HealthSnapshot(msgspec.Struct, frozen=True):
    """What is known of one target, for whoever watches."""

    breaker: str
    resting_ms: int
    """How much longer it rests; 0 when it does not."""
    in_flight: int
    requests: int
    """Within the window, those that tell something: client's mistakes and hang-ups do not."""
    failures: int
    first_byte_ms: float
    """To the first byte of a reply, smoothed; 0 when nothing came within the window."""
    slow_ms: int
    """No more than a twentieth of the window's requests took longer than this; a power of two."""


class _Bucket:
    __slots__ = ("failures", "latencies", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.latencies = [0] * LATENCY_CLASSES


class TargetHealth:
    """One target's health."""

    __slots__ = (
        "_bucket",
        "_bucket_ends_s",
        "_bucket_s",
        "_failed_in_row",
        "_old",
        "_open_ms",
        "_opened_s",
        "_probing",
        "_rest_until_s",
        "_state",
        "first_byte_ms",
        "fit",
        "in_flight",
        "rules",
    )  # fmt: skip

    def __init__(self, rules: HealthRules | None = None) -> None:
        self.rules = rules = rules or HealthRules()
        self.fit = True
        """Nothing is wrong: all that is looked at while this is so."""
        self.in_flight = 0
        self.first_byte_ms = 0.0
        self._state = Breaker.CLOSED
        self._failed_in_row = 0
        self._open_ms = rules.open_ms
        self._opened_s = 0.0
        self._probing = False
        self._rest_until_s = 0.0
        self._bucket = _Bucket()
        self._bucket_s = rules.window_ms / 1000 / BUCKETS
        self._bucket_ends_s = 0.0
        self._old: deque[_Bucket] = deque(maxlen=BUCKETS - 1)

    def obey(self, rules: HealthRules) -> None:
        """Takes new rules; what is known stays known, and is judged by them from now on."""
        if rules.window_ms != self.rules.window_ms:
            self._bucket_s = rules.window_ms / 1000 / BUCKETS
            self._bucket_ends_s = 0.0
        self.rules = rules

    # --- asked ----------------------------------------------------------------------------------------

    def condition(self, now_s: float) -> Condition:
        """What may be sent there now."""
        if self.fit:
            return Condition.FIT
        if now_s < self._rest_until_s:
            return Condition.RESTING
        if self._state is Breaker.CLOSED:
            self.fit = True
            return Condition.FIT
        if self._state is Breaker.OPEN and now_s >= self._opened_s + self._open_ms / 1000:
            self._state = Breaker.HALF_OPEN
        if self._state is Breaker.HALF_OPEN and not self._probing:
            return Condition.PROBE
        return Condition.OPEN

    def may_probe(self, now_s: float) -> bool:
        """Whether it can be probed before its time, since nobody else is left: its breaker has been open for
        the shortest time, and no probe is under way."""
        return (
            not self._probing
            and now_s >= self._rest_until_s
            and now_s >= self._opened_s + self.rules.open_ms / 1000
        )

    def waits_ms(self, now_s: float) -> int:
        """How long until something may be sent there; 0 when it may now."""
        until_s = self._rest_until_s
        if self._state is not Breaker.CLOSED:
            open_ms = self.rules.open_ms if self._probing else self._open_ms
            until_s = max(until_s, self._opened_s + open_ms / 1000)
        return max(0, int((until_s - now_s) * 1000) + 1) if until_s > now_s else 0

    # --- told -----------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """A request goes there; returns whether it is the probe, to be said again when it has ended."""
        self.in_flight += 1
        if self.fit or self._state is Breaker.CLOSED:
            return False
        # Also before its time: whoever sends it has asked `may_probe`.
        self._state = Breaker.HALF_OPEN
        probe, self._probing = not self._probing, True
        return probe

    def leave(self, probe: bool) -> None:
        """The request has ended, however; what is to be learnt of it was told before."""
        self.in_flight -= 1
        if probe:
            self._probing = False

    def succeeded(self, now_s: float, first_byte_ms: float, probe: bool) -> None:
        """A reply came through."""
        if now_s >= self._bucket_ends_s:
            self._turn(now_s)
        bucket = self._bucket
        bucket.successes += 1
        self._failed_in_row = 0
        if bucket.successes & SAMPLED == 1:
            bucket.latencies[min(int(first_byte_ms).bit_length(), LATENCY_CLASSES - 1)] += 1
            known_ms = self.first_byte_ms
            self.first_byte_ms = (
                known_ms + (first_byte_ms - known_ms) / SMOOTHING if known_ms else first_byte_ms
            )
        if probe and self._state is not Breaker.CLOSED:
            self._close()

    def failed(self, now_s: float, probe: bool) -> None:
        """It could not be reached, broke off, or had a fault of its own."""
        if now_s >= self._bucket_ends_s:
            self._turn(now_s)
        self._bucket.failures += 1
        self._failed_in_row += 1
        if probe:
            self._open_ms = min(self._open_ms * 2, self.rules.open_max_ms)
            self._open(now_s)
        elif self._state is Breaker.CLOSED and self._is_too_much():
            self._open_ms = self.rules.open_ms
            self._open(now_s)

    def rest(self, now_s: float, rest_ms: int) -> None:
        """It asks to be left alone for so long; the longest rest counts."""
        until_s = now_s + min(rest_ms, self.rules.rest_max_ms) / 1000
        self._rest_until_s = max(self._rest_until_s, until_s)
        self.fit = False

    def snapshot(self, now_s: float) -> HealthSnapshot:
        """What is known now."""
        if now_s >= self._bucket_ends_s:
            self._turn(now_s)
        buckets = (*self._old, self._bucket)
        successes = sum(bucket.successes for bucket in buckets)
        failures = sum(bucket.failures for bucket in buckets)
        return HealthSnapshot(
            self._state.value,
            max(0, int((self._rest_until_s - now_s) * 1000)),
            self.in_flight,
            successes + failures,
            failures,
            round(self.first_byte_ms, 3),
            _twentieth(buckets, successes),
        )

    # --- inside ---------------------------------------------------------------------------------------

    def _open(self, now_s: float) -> None:
        self._state = Breaker.OPEN
        self._opened_s = now_s
        self.fit = False

    def _close(self) -> None:
        self._state = Breaker.CLOSED
        self._open_ms = self.rules.open_ms
        self._old.clear()
        self._bucket.failures = 0  # what opened it must not open it again

    def _is_too_much(self) -> bool:
        rules = self.rules
        if self._failed_in_row >= rules.failures:
            return True
        successes = self._bucket.successes + sum(bucket.successes for bucket in self._old)
        failures = self._bucket.failures + sum(bucket.failures for bucket in self._old)
        requests = successes + failures
        return requests >= rules.error_requests and failures * 100 >= requests * rules.error_percent

    def _turn(self, now_s: float) -> None:
        """Moves the window on to now."""
        if now_s >= self._bucket_ends_s + (BUCKETS - 1) * self._bucket_s:
            self._old.clear()
            self._bucket = _Bucket()
            self._bucket_ends_s = now_s + self._bucket_s
            self.first_byte_ms = 0.0  # nothing within the window: as good as never asked
            return
        while now_s >= self._bucket_ends_s:
            self._old.append(self._bucket)
            self._bucket = _Bucket()
            self._bucket_ends_s += self._bucket_s


def _twentieth(buckets: tuple[_Bucket, ...], successes: int) -> int:
    left = -(-successes // (SAMPLED + 1)) // 20
    for size in reversed(range(LATENCY_CLASSES)):
        count = sum(bucket.latencies[size] for bucket in buckets)
        left -= count
        if left < 0 and count:
            return int(2**size)
    return 0
