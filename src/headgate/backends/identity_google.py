"""Google's identity: tokens for a service account, or for whatever the machine's own credentials are.

Finding and refreshing credentials is google-auth's, which is loaded here alone.
"""

from __future__ import annotations

import json
import time
import warnings
from calendar import timegm
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from headgate.backends.asking import Answer, ask
from headgate.backends.keeper import Lent
from headgate.core.errors import ConnectFailed, SettingsError
from headgate.core.settings import Identity

INSTALL = "pip install 'headgate[vertex]'"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""What a token is for: there is no narrower one for models."""


def google_token(identity: Identity) -> Callable[[], Lent[str]]:
    """What gets a token; raises SettingsError where google-auth is missing or the file is not one of its."""
    try:
        import_module("google.auth")  # optional, so not before it is wanted
    except ImportError:
        raise SettingsError(f"an identity of Google needs google-auth: {INSTALL}") from None
    kind = None
    if identity.file is not None:
        try:
            kind = json.loads(Path(identity.file).read_text("utf-8")).get("type")
        except (OSError, ValueError, AttributeError):
            raise SettingsError(f"{identity.file}: not a file of Google's credentials") from None
    source = _Source(identity.file, kind, [identity.scope or SCOPE])
    return source.token


class _Source:
    """One place where credentials are found, and what was found there."""

    def __init__(self, file: str | None, kind: object, scopes: list[str]) -> None:
        self._file = file
        self._kind = kind
        self._scopes = scopes
        self._credentials: Any = None

    def token(self) -> Lent[str]:
        exceptions: Any = import_module("google.auth.exceptions")
        try:
            if self._credentials is None:
                self._credentials = self._find()
            self._credentials.refresh(_ask)
        except (exceptions.GoogleAuthError, ValueError) as error:
            # Its words may repeat what was sent.
            raise ConnectFailed(f"Google gives none ({type(error).__name__})") from None
        found = self._credentials
        if not found.token:
            raise ConnectFailed("Google gives none")
        # Naive, and UTC.
        lasts_s = timegm(found.expiry.timetuple()) - time.time() if found.expiry else 3600.0
        return Lent(str(found.token), lasts_s)

    def _find(self) -> Any:
        auth: Any = import_module("google.auth")
        with warnings.catch_warnings():
            # It would have the operator's own machine not use the operator's own account.
            warnings.simplefilter("ignore")
            if self._file is None:
                return auth.default(scopes=self._scopes, request=_ask)[0]
            if self._kind == "service_account":
                of_service: Any = import_module("google.oauth2.service_account").Credentials
                return of_service.from_service_account_file(self._file, scopes=self._scopes)
            return auth.load_credentials_from_file(self._file, scopes=self._scopes, request=_ask)[0]


def _ask(*words: Any, **named: Any) -> Answer:
    """google-auth's transport; it knows errors of its own only."""
    exceptions: Any = import_module("google.auth.exceptions")
    try:
        return ask(*words, **named)
    except ConnectFailed as error:
        raise exceptions.TransportError(str(error)) from None
