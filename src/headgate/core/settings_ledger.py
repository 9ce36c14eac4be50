"""`[ledger]`: what is kept of every attempt, for how long, and when days begin. Records only."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[ledger]`: the entries in the database, and their sums."""

    time_zone: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_+/-]{1,64}\Z", description="such as Europe/Berlin")
    ] = "UTC"
    """In which days, weeks and months begin, for reports and budgets alike: an IANA name."""
    keep_entries_days: Annotated[int, Meta(ge=0, le=36_500)] = 400
    """Entries older than this are deleted; sums by hour, day and month stay. A year, and time to look back at
    its beginning; 0 keeps all."""
