"""The old names of what is now in `core.address` and `backends.proxy`."""

from __future__ import annotations

from headgate.backends.proxy import Proxy, proxy_for
from headgate.core.address import Address
from headgate.core.address import parse_base_url as parse_address

__all__ = ["Address", "Proxy", "parse_address", "proxy_for"]
