"""What an attempt teaches of its target: told to its health, to the key that was used, to the operator."""

from __future__ import annotations

import logging

import msgspec

from headgate.gateway.choose import Target
from headgate.gateway.judge import Blame, Verdict

log = logging.getLogger("headgate.gateway")


def learn(
    target: Target, key: int, verdict: Verdict, now_s: float, first_byte_ms: float, probe: bool
) -> Verdict:
    """Tells what a failed attempt teaches; returns the verdict, which another key may soften.

    `key` is the one that it was sent with, where there are several; `first_byte_ms` is 0 when nothing came.
    """
    if verdict.blame is Blame.TARGET:
        _failed(target, verdict, now_s, probe)
    elif verdict.blame is Blame.NOBODY:
        if first_byte_ms:
            target.health.succeeded(now_s, first_byte_ms, probe)
    else:
        return _refused(target, key, verdict, now_s, first_byte_ms, probe)
    return verdict


def recovered(target: Target) -> None:
    """A probe went well."""
    log.info('upstream "%s" answers again for "%s"', target.upstream.name, target.upstream_model)


def _failed(target: Target, verdict: Verdict, now_s: float, probe: bool) -> None:
    health = target.health
    was_fit = health.fit
    health.failed(now_s, probe)
    if was_fit and not health.fit:
        log.warning(
            'upstream "%s" has failed too often for "%s" (%s): it is left alone, and probed now and then',
            target.upstream.name,
            target.upstream_model,
            verdict.kind,
        )


def _refused(
    target: Target, key: int, verdict: Verdict, now_s: float, first_byte_ms: float, probe: bool
) -> Verdict:
    """The key is refused, or has to wait: another one is asked, or the target rests."""
    health, rules = target.health, target.health.rules
    rest_ms = verdict.rest_ms
    if rest_ms is None:
        rest_ms = rules.rest_ms if verdict.blame is Blame.LIMIT else rules.key_rest_ms
    rest_ms = min(rest_ms, rules.rest_max_ms)
    keyring = target.keyring
    if keyring is not None:
        if verdict.blame is Blame.KEY:
            # Which one is told by its place in the list: the key itself is nobody's business.
            log.warning(
                'upstream "%s": key %d of its api_keys is refused (%s)',
                target.upstream.name,
                key + 1,
                verdict.kind,
            )
        keyring.rest(key, now_s, rest_ms)
        rest_ms = keyring.waits_ms(now_s)
        if not rest_ms:
            return msgspec.structs.replace(verdict, other_key=True)
    elif verdict.blame is Blame.KEY and not verdict.used_up:
        _failed(target, verdict, now_s, probe)
        return verdict
    # It did answer: a probe that is told to wait has found it well.
    health.succeeded(now_s, first_byte_ms, probe)
    health.rest(now_s, rest_ms)
    log.info(
        'upstream "%s" rests for %d ms for "%s" (%s)',
        target.upstream.name,
        rest_ms,
        target.upstream_model,
        verdict.kind,
    )
    return verdict
