"""Values that must not be seen: they come from the environment or a file, and never show in text.

Reading either is not done here: whoever builds a Secret has the value at hand.
"""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """A credential; `reveal()` is the only way to its value, `repr` and `str` name its origin alone."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, *, origin: str) -> None:
        """`origin` is such as `env:OPENAI_API_KEY`; raises ValueError for what no header could carry."""
        if not value:
            raise ValueError(f"{origin} is empty")
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"{origin} holds a character that cannot be sent: only printable ASCII can")
        self._value = value
        self.origin = origin

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        # So that a reload can tell which upstreams changed.
        if not isinstance(other, Secret):
            return NotImplemented
        return self._value == other._value and self.origin == other.origin

    def __hash__(self) -> int:
        return hash((type(self), self.origin, self._value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.origin})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


class MaybeSecret(Secret):
    """A string written into the configuration, or a reference like a Secret's; hidden all the same."""

    __slots__ = ()
