"""AWS's identity: keys from wherever AWS keeps them, and each request signed with them (SigV4).

Signing and finding keys are botocore's own, which is loaded here alone. Source of what is signed:
docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from headgate.backends.keeper import Keeper, Lent
from headgate.core.address import Address
from headgate.core.cut import Pieces
from headgate.core.errors import ConnectFailed, SettingsError
from headgate.core.ports import Headers, Outgoing
from headgate.core.settings import Identity

INSTALL = "pip install 'headgate[bedrock]'"
SERVICE = "bedrock"
"""What requests are signed for."""

RENEW_S = 60.0
"""How often botocore is asked whether its keys are still the newest: a look at a clock, mostly."""
LASTS_S = 600.0
"""botocore hands out no key that ends sooner."""

LARGE_BYTES = 262_144
"""Bodies above this are hashed in a thread: a quarter of a millisecond, in which nothing else could run."""

_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class AwsKeys:
    """Keys that sign; implements `headgate.backends.identity.Proof`."""

    def __init__(
        self, upstream: str, identity: Identity, address: Address, query: Sequence[tuple[str, str]]
    ) -> None:
        """Raises SettingsError where botocore is not installed or the region is not known."""
        try:
            import botocore.auth  # noqa: F401, PLC0415  # optional, and heavy
        except ImportError:
            raise SettingsError(
                f'upstream "{upstream}": an identity of AWS needs botocore: {INSTALL}'
            ) from None
        found = _REGION.search(address.host)
        region = identity.region or (found[1] if found else None)
        if region is None:
            raise SettingsError("its host names no region to sign for; say `region` in its identity")
        self._region = region
        self._identity = identity
        self._session: Any = None
        scheme = "https" if address.tls else "http"
        self._host = address.authority
        self._base = f"{scheme}://{address.authority}{address.prefix}"
        self._query = urlencode(query, quote_via=quote)
        self._keeper = Keeper(f'upstream "{upstream}": no keys', self._read)
        self.close = self._keeper.close

    def __repr__(self) -> str:
        return f"AwsKeys({self._region!r})"

    async def lines(self, outgoing: Outgoing) -> Headers:
        """The signature, and what it is about, for one request."""
        keys = await self._keeper.current()
        body = outgoing.mended or outgoing.body
        if len(body) > LARGE_BYTES:
            digest = await asyncio.get_running_loop().run_in_executor(None, _digest, body)
        else:
            digest = _digest(body)
        url = self._base + outgoing.path
        if self._query:
            url += ("&" if "?" in url else "?") + self._query
        return self._signed(keys, url, digest)

    def _signed(self, keys: Any, url: str, digest: str) -> Headers:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        request = AWSRequest("POST", url, {"host": self._host, "x-amz-content-sha256": digest})
        SigV4Auth(keys, SERVICE, self._region).add_auth(request)
        return [
            (name.lower().encode(), value.encode())
            for name, value in request.headers.items()
            if name.lower() != "host"  # the head has it already
        ]

    def _read(self) -> Lent[Any]:
        """The keys as botocore has them now; what they come from may have to be asked for them."""
        from botocore.credentials import Credentials  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from botocore.session import Session  # noqa: PLC0415

        identity = self._identity
        if identity.access_key_id is not None and identity.secret_access_key is not None:
            token = identity.session_token.reveal() if identity.session_token is not None else None
            pair = (identity.access_key_id.reveal(), identity.secret_access_key.reveal())
            return Lent(Credentials(*pair, token), float("inf"))
        try:
            if self._session is None:
                self._session = Session(profile=identity.profile)
            found = self._session.get_credentials()
            keys = found.get_frozen_credentials() if found is not None else None
        except (BotoCoreError, ClientError, OSError) as error:
            raise ConnectFailed(f"AWS gives none ({type(error).__name__})") from None
        if keys is None or not keys.access_key:
            raise ConnectFailed("none in the environment, AWS's files, or a role of this machine")
        return Lent(keys, LASTS_S, RENEW_S)


def _digest(body: bytes | Pieces) -> str:
    if isinstance(body, bytes):
        return sha256(body).hexdigest()
    made = sha256()
    for buffer in body.buffers:
        made.update(buffer)
    return made.hexdigest()
