"""A checked request in the words of one target. A heavy one is read abridged, where its dialect can do so."""

from __future__ import annotations

import time

from headgate.core.cut import CutBody, WholeBodyNeeded
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Outgoing
from headgate.gateway.admit import admit
from headgate.gateway.choose import Target


def translate(call: Call, cut: CutBody | None, target: Target) -> Outgoing:
    """What goes to the target; raises BadRequest for what cannot be said there.

    `cut` is what an abridged call was read from. Whoever reads what was cut out gets it back: `call` is then
    abridged no more.
    """
    call.upstream_model = target.upstream_model
    call.created_s = int(time.time())
    if call.abridged and cut is not None:
        outgoing = _abridged(call, cut, target)
        if outgoing is not None:
            return outgoing
        make_whole(call, cut)
    return target.upstream.dialect.request(call)


def make_whole(call: Call, cut: CutBody | None) -> None:
    """Puts back what was cut out of a call."""
    if call.abridged and cut is not None:
        whole = admit(call.endpoint, cut.whole())
        call.request, call.fields, call.abridged = whole.request, whole.fields, False


def _abridged(call: Call, cut: CutBody, target: Target) -> Outgoing | None:
    """Translated without what was cut out, which is put back into the result; None if that cannot be done."""
    try:
        outgoing = target.upstream.dialect.request(call)
    except (ApiError, WholeBodyNeeded):
        return None  # an error may quote a stand-in
    outgoing.mended = cut.mend(outgoing.body)
    return outgoing if outgoing.mended is not None else None
