"""What must hold within an upstream's `identity`: each kind has fields of its own, some of which it needs."""

from __future__ import annotations

from headgate.core.address import parse_base_url
from headgate.core.settings import Identity
from headgate.core.settings_models import Wrong
from headgate.core.toml_lines import Path

FIELDS = {
    "aws": ("profile", "access_key_id", "secret_access_key", "session_token", "region"),
    "google": ("file", "scope"),
    "entra": ("tenant_id", "client_id", "client_secret", "scope", "authority"),
}
"""What each kind has."""

DEFAULT_AUTHORITY = Identity(kind="entra").authority


def check_identity(identity: Identity, path: Path) -> None:
    """Raises Wrong for a field of another kind, and for one that is missing."""
    for name in identity.__struct_fields__:
        given = getattr(identity, name)
        if name == "authority" and given == DEFAULT_AUTHORITY:
            continue
        if name != "kind" and given is not None and name not in FIELDS[identity.kind]:
            known = ", ".join(FIELDS[identity.kind])
            raise Wrong((*path, name), f'means nothing to the kind "{identity.kind}", which has {known}')
    if identity.kind == "aws":
        _check_pair(identity, path)
    if identity.kind == "entra":
        for name in ("tenant_id", "client_id", "client_secret"):
            if getattr(identity, name) is None:
                raise Wrong(path, f"`{name}` is missing")
        try:
            parse_base_url(identity.authority)
        except ValueError as error:
            raise Wrong((*path, "authority"), str(error)) from None


def _check_pair(identity: Identity, path: Path) -> None:
    if (identity.access_key_id is None) != (identity.secret_access_key is None):
        raise Wrong(path, "`access_key_id` and `secret_access_key` go together")
    if identity.session_token is not None and identity.access_key_id is None:
        raise Wrong((*path, "session_token"), "belongs to an `access_key_id`")
    if identity.profile is not None and identity.access_key_id is not None:
        raise Wrong((*path, "profile"), "a key is here too: one of them is enough")
