"""Brings the pictures of a request to an upstream that takes them inline only; its dialect is asked again.

Must not know how a picture is fetched or looked at.
"""

from __future__ import annotations

import asyncio

import msgspec

from headgate.core.image import ImageEditRequest
from headgate.core.ports import Bring, Call
from headgate.core.seeing import spots


async def see(call: Call, bring: Bring) -> None:
    """Puts every picture of a call into it, as a data URI that engines can read; raises InvalidField."""
    found = spots(call.request)
    # All at once: a conversation about ten pictures would else wait ten times.
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_brought(bring, spot.url, spot.field, spot.detail)) for spot in found]
    for spot, task in zip(found, tasks, strict=True):
        brought = task.result()
        if isinstance(brought, Exception):
            raise brought
        spot.put(brought)
    if isinstance(call.request, ImageEditRequest):
        for name in ("images", "mask"):
            if name in call.fields:
                call.fields[name] = msgspec.Raw(msgspec.json.encode(getattr(call.request, name)))
    call.pictures_at_hand = True


async def _brought(bring: Bring, url: str, field: str, detail: str | None) -> str | Exception:
    """The picture, or what is wrong: of several wrong ones the first is told, not the quickest."""
    try:
        return await bring(url, field, detail)
    except Exception as error:  # noqa: BLE001 -- told by whoever asked
        return error
