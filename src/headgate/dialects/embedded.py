"""OpenAI's wire format as our own engines speak it: bytes pass, and what one cannot do is refused here.

Must not know which program an engine is.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.core.errors import NotFound
from headgate.core.ports import Call, Outgoing
from headgate.dialects.openai import OpenAI


class Embedded(OpenAI):
    """The dialect of an engine that serves some endpoints of the table."""

    def __init__(self, skills: Iterable[str]) -> None:
        """`skills` are capabilities as the endpoint table names them."""
        self._skills = frozenset(skills)

    def request(self, call: Call) -> Outgoing:
        """The client's body with the engine's name of the model; raises NotFound for another endpoint."""
        if call.endpoint.capability not in self._skills:
            raise wrong_endpoint(call)
        return super().request(call)


def wrong_endpoint(call: Call) -> NotFound:
    """The model is there, but does not serve what was called."""
    return NotFound(
        f"The model '{call.model or call.upstream_model}' is not supported in the {call.endpoint.path} "
        "endpoint.",
        param="model",
    )
