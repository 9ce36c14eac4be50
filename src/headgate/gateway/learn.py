"""What an attempt teaches of its target: told to its health, and to the key it was sent with."""

from __future__ import annotations

import msgspec

from headgate.core.settings_routing import Health
from headgate.gateway.choose import Target
from headgate.gateway.judge import Blame, Verdict


def learn(
    target: Target, key: int, verdict: Verdict, now_s: float, first_byte_ms: float, probe: bool
) -> Verdict:
    """Tells what a failed attempt teaches; returns the verdict, which another key may soften.

    `key` is the one that it was sent with, where there are several; `first_byte_ms` is 0 when nothing came.
    """
    health = target.health
    rules: Health = health.rules
    if verdict.blame is Blame.TARGET:
        health.failed(now_s, probe)
        return verdict
    if verdict.blame is Blame.NOBODY:
        if first_byte_ms:
            health.succeeded(now_s, first_byte_ms, probe)
        return verdict
    limited = verdict.blame is Blame.LIMIT
    rest_ms = verdict.rest_ms if verdict.rest_ms is not None else rules.rest_ms
    if not limited and verdict.rest_ms is None:
        rest_ms = rules.key_rest_ms
    rest_ms = min(rest_ms, rules.rest_max_ms)
    keyring = target.keyring
    if keyring is not None:
        keyring.rest(key, now_s, rest_ms)
        rest_ms = keyring.waits_ms(now_s)
        if not rest_ms:
            return msgspec.structs.replace(verdict, other_key=True)
    if limited or keyring is not None or verdict.used_up:
        # It did answer: a probe that is told to wait has found it well.
        health.succeeded(now_s, first_byte_ms, probe)
        health.rest(now_s, rest_ms)
    else:
        health.failed(now_s, probe)
    return verdict
