"""Who may see what is the operator's alone. Pure: a header and the table of keys in, a refusal out."""

from __future__ import annotations

from headgate.core.errors import ApiError, Forbidden, Unauthorized
from headgate.core.ports import Keys

OPERATOR_KEY_ID = "master"
"""The id of the operator's own key; every other key is somebody's who was given it."""

_SCHEME = b"bearer"


def operators_only(authorization: bytes, keys: Keys) -> ApiError | None:
    """Why whoever sends this Authorization header may not go on; None for the operator."""
    scheme, _, token = authorization.partition(b" ")
    holder = keys.find(token.strip()) if scheme.lower() == _SCHEME else None
    if holder is None:
        return Unauthorized("This takes the operator's key: 'Authorization: Bearer YOUR_KEY'.")
    if holder.key_id != OPERATOR_KEY_ID:
        return Forbidden("This is for the operator's key alone.")
    return None
