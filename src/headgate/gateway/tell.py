"""Tells a client which upstream answered and how many tries it took, where the operator allows it."""

from __future__ import annotations

from headgate.core.settings_routing import Routing
from headgate.gateway.choose import Target


def tell(rules: Routing, target: Target, count: int) -> bytes:
    """Header lines for the reply of this attempt."""
    lines = b""
    if rules.tell_upstream:
        lines += b"x-headgate-upstream: %b\r\n" % target.upstream.name.encode()
    if rules.tell_attempts:
        lines += b"x-headgate-attempts: %d\r\n" % count
    return lines
