"""Who calls the operator's API, and what that one may see and change: decided by the key alone.

Must not know what is asked for.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from headgate.core.errors import Forbidden, Unauthorized
from headgate.core.operator import OPERATOR_KEY_ID
from headgate.core.ports import Keys, Principal

Role = Literal["operator", "team_admin", "viewer", "holder"]

CHANGES, READS = "admin", "admin.read"
"""Scopes of keys that may call this API: with a team, for that team alone; without one, for all."""

_SCHEME = b"bearer"


class Caller(msgspec.Struct, frozen=True):
    """Somebody with a key."""

    key_id: str
    name: str
    role: Role
    team_id: str = ""
    """Empty for whoever sees all teams."""

    def may_change(self, team_id: str | None = None) -> None:
        """Raises Forbidden unless this one may change things of a team, or with None things of all."""
        if self.role == "operator":
            return
        if self.role == "team_admin" and team_id is not None and team_id == self.team_id:
            return
        raise Forbidden("Your key may not change this.")

    def may_see(self, team_id: str | None = None) -> None:
        """Raises Forbidden unless this one may see things of a team, or with None things of all."""
        if self.role == "operator" or (self.role == "viewer" and not self.team_id):
            return
        if self.role in ("team_admin", "viewer") and team_id is not None and team_id == self.team_id:
            return
        raise Forbidden("Your key may not see this.")

    def own_team(self, wanted: str | None) -> str | None:
        """The team that a list is narrowed to: the one wanted, or the only one that this one may see."""
        if not self.team_id:
            self.may_see()
            return wanted
        self.may_see(self.team_id if wanted is None else wanted)
        return self.team_id


def caller_of(authorization: bytes, keys: Keys) -> Caller:
    """The caller; raises Unauthorized."""
    scheme, _, token = authorization.partition(b" ")
    principal = keys.find(token.strip()) if scheme.lower() == _SCHEME else None
    if principal is None:
        raise Unauthorized("Incorrect API key provided.")
    return Caller(principal.key_id, principal.name, _role(principal), principal.team_id)


def _role(principal: Principal) -> Role:
    if principal.key_id == OPERATOR_KEY_ID:
        return "operator"
    # A key without restrictions may call every endpoint of the gate, and nothing here.
    scopes = principal.access.scopes or frozenset()
    if CHANGES in scopes:
        return "team_admin" if principal.team_id else "operator"
    return "viewer" if READS in scopes else "holder"
