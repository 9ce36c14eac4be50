"""Settings of pictures and other media: where they are kept, and what is fetched. Records only."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from headgate.core.settings_telemetry import HttpUrl

HOUR_MS = 3_600_000

Network = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}\Z", description='a network such as "10.1.0.0/16"')
]


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[media]`: pictures that models draw, behind links; pictures that clients name by URL."""

    store: str = ""
    """Where drawn pictures are kept: `s3://bucket/prefix`, `gs://...`, `az://...`; empty for the data folder.
    Credentials come from the environment, as each provider's own tools read them."""
    public_url: HttpUrl | None = None
    """How clients reach the gate, for links: `https://gate.example`. None takes the address it listens on."""
    keep_ms: Annotated[int, Meta(ge=60_000, le=365 * 24 * HOUR_MS)] = HOUR_MS
    """How long a link works: an hour, as OpenAI's do."""
    limit_bytes: Annotated[int, Meta(ge=1_048_576, le=2**50)] = 2_147_483_648
    """Room for all that is kept; over it, what expires soonest goes first."""
    fetch: bool = True
    """Fetch pictures from URLs in requests, for engines that only take them inline; public addresses only."""
    fetch_limit_bytes: Annotated[int, Meta(ge=1024, le=268_435_456)] = 20_971_520
    """Largest picture that is fetched: OpenAI's own limit is 20 MB."""
    fetch_networks: tuple[Network, ...] = ()
    """Networks that pictures may be fetched from although they are not public, such as that of an image
    server of your own. Every client may then make the gate send GET requests there."""
