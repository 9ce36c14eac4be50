"""Makes from settings what the gate does with pictures: where drawn ones are kept, how others are brought."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from headgate.backends.outside import PublicSide
from headgate.core.errors import StoreError
from headgate.core.outside import is_public
from headgate.core.settings_media import Media
from headgate.media.bring import Bringer
from headgate.media.fetch import Fetcher
from headgate.media.host import PATH, Host
from headgate.media.links import Links
from headgate.media.shelf import Shelf, open_store

log = logging.getLogger(__name__)

CLEAN_INTERVAL_S = 60
"""How much longer than it should something may lie there."""


class Gallery:
    """The gate's pictures."""

    def __init__(self, settings: Media, data_folder: Path) -> None:
        """Raises SettingsError when the store cannot be used."""
        self._settings = settings
        self._folder = data_folder / "media"
        self._shelf = self._open(settings)
        self._bringer = self._make_bringer(settings)
        self.links = Links(lambda: self._shelf, time.time)
        """Serves what is kept."""
        self._cleaner: asyncio.Task[None] | None = None
        self._base_url = ""

    def start(self, listens_at: str) -> None:
        """Begins to clean up; `listens_at` is the gate's own base URL, for links where no other is set."""
        self._base_url = listens_at
        self._cleaner = asyncio.get_running_loop().create_task(self._clean())

    def prepare(self, settings: Media) -> Callable[[], None]:
        """New settings: call what is returned to take them. Raises SettingsError, and all stays as it was."""
        if settings == self._settings:
            return lambda: None
        shelf, bringer = self._open(settings), self._make_bringer(settings)

        def take() -> None:
            self._shelf, self._bringer, self._settings = shelf, bringer, settings

        return take

    async def stop(self) -> None:
        """Ends it; what was drawn last is stored before."""
        if self._cleaner is not None:
            self._cleaner.cancel()
        await self._shelf.settled()
        self._bringer.close()

    def host(self, kind: str, base64: str) -> str:
        """A link to a drawn picture (`headgate.core.ports.Call.host`)."""
        return Host(self._shelf, self._settings.public_url or self._base_url)(kind, base64)

    async def bring(self, url: str, field: str, detail: str | None) -> str:
        """A picture as a data URI (`headgate.core.ports.Bring`)."""
        name = url.removeprefix(self._links_url)
        if name != url:
            # A picture of ours that is to be changed: no detour over a network that may not lead here.
            kept = await self._shelf.find(name)
            if kept is not None:
                data = b"".join([piece async for piece in self._shelf.read(kept, 0, kept.size)])
                url = f"data:{kept.kind};base64,{b64encode(data).decode()}"
        return await self._bringer(url, field, detail)

    @property
    def _links_url(self) -> str:
        return f"{self._settings.public_url or self._base_url}{PATH}"

    def _open(self, settings: Media) -> Shelf:
        store = open_store(settings.store, self._folder)
        return Shelf(
            store, keep_s=settings.keep_ms // 1000, limit_bytes=settings.limit_bytes, clock=time.time
        )

    def _make_bringer(self, settings: Media) -> Bringer:
        if not settings.fetch:
            return Bringer(None)
        networks = [ipaddress.ip_network(network, strict=False) for network in settings.fetch_networks]

        def allowed(address: str) -> bool:
            return is_public(address) or any(ipaddress.ip_address(address) in network for network in networks)

        return Bringer(Fetcher(PublicSide(), limit_bytes=settings.fetch_limit_bytes, allowed=allowed))

    async def _clean(self) -> None:
        while True:
            await asyncio.sleep(CLEAN_INTERVAL_S)
            try:
                await self._shelf.clean()
            except StoreError as error:
                log.error("%s", error)
