"""What a request asks for that its upstream does not have: refused, or left out and reported, never silent.

Must not know which upstream that is.
"""

from __future__ import annotations

from headgate.core.errors import InvalidField


class Unsupported:
    """Collects what one request loses; `drop` is the operator's setting."""

    __slots__ = ("_drop", "_dropped")

    def __init__(self, *, drop: bool) -> None:
        self._drop = drop
        self._dropped: list[str] = []

    def parameter(self, param: str, message: str | None = None) -> None:
        """One that changes the answer: raises InvalidField, unless the operator wants it dropped."""
        if not self._drop:
            raise InvalidField(
                message or f"Unsupported parameter: '{param}' is not supported with this model.",
                param=param,
                code="unsupported_parameter",
            )
        self.hint(param)

    def hint(self, param: str) -> None:
        """One without which the answer is as good (a cache key, a tag): dropped and reported."""
        if param not in self._dropped:
            self._dropped.append(param)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of what was left out; ours, never a client's text, since they go into a header."""
        return tuple(self._dropped)
