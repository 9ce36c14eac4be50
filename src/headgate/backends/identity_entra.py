"""Entra's identity: tokens for an application by its secret (OAuth 2.0, client credentials: RFC 6749, 4.4).

Source: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec

from headgate.backends.asking import ask
from headgate.backends.keeper import Lent
from headgate.core.errors import ConnectFailed
from headgate.core.settings import Identity

SCOPE = "https://cognitiveservices.azure.com/.default"
"""What a token is for: Azure's models."""

FORM = {"content-type": "application/x-www-form-urlencoded"}


class _Granted(msgspec.Struct):
    access_token: str = ""
    expires_in: float = 0
    error: str = ""


def entra_token(identity: Identity) -> Callable[[], Lent[str]]:
    """What gets a token."""
    secret = identity.client_secret
    assert secret is not None  # the settings were checked
    url = f"{identity.authority.rstrip('/')}/{identity.tenant_id}/oauth2/v2.0/token"

    def obtain() -> Lent[str]:
        form = {
            "grant_type": "client_credentials",
            "client_id": identity.client_id,
            "client_secret": secret.reveal(),
            "scope": identity.scope or SCOPE,
        }
        answer = ask(url, "POST", urlencode(form).encode(), FORM)
        try:
            granted = msgspec.json.decode(answer.data, type=_Granted)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ConnectFailed(f"Entra answers with status {answer.status}") from None
        if answer.status != 200 or not granted.access_token:
            # A code of OAuth's, such as invalid_client; the description beside it names the application.
            code = granted.error if granted.error.isidentifier() else "no token"
            raise ConnectFailed(f"Entra gives none (status {answer.status}, {code})")
        return Lent(granted.access_token, granted.expires_in)

    return obtain
