"""Identities in place of keys, against givers on real sockets; signatures are worked out here once more."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from headgate.backends.identity import IdentifiedUpstream, make_proof
from headgate.backends.identity_aws import LARGE_BYTES
from headgate.backends.pool import Pool
from headgate.backends.upstreams import Place
from headgate.core.address import Address
from headgate.core.cut import Pieces
from headgate.core.errors import ConnectFailed, SettingsError
from headgate.core.ports import Outgoing
from headgate.core.secret import Secret
from headgate.core.settings import File, Identity
from headgate.dialects.openai import OpenAI
from tests.backends.givers import giving
from tests.backends.scripted import Line, scripted
from tests.conftest import run

KEY_ID, KEY, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session/token=="


def secret(value: str) -> Secret:
    return Secret(value, origin="env:X")


def sent(
    identity: Identity,
    *outgoings: Outgoing,
    prefix: str = "",
    query: tuple[tuple[str, str], ...] = (),
) -> list[bytes]:
    """What an upstream with this identity receives, head and body."""
    received: list[bytes] = []

    async def script(line: Line) -> None:
        for _ in outgoings:
            received.append(await line.request())
            await line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await line.gone()

    async def main() -> None:
        async with scripted(script) as upstream:
            address = Address("127.0.0.1", upstream.port, prefix=prefix)
            pool = Pool(address)
            place = Place(pool, address, (), query)
            proof = make_proof("far", identity, place)
            made = IdentifiedUpstream("far", OpenAI(), place, None, proof)
            try:
                for outgoing in outgoings:
                    reply = await made.send(outgoing)
                    await reply.read(100)
                    reply.close()
            finally:
                await made.close()
                await pool.close()

    run(main())
    return received


def parts(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines), "a header stands twice"
    return first, headers, body


def fails(identity: Identity) -> str:
    with pytest.raises(ConnectFailed) as caught:
        sent(identity, Outgoing("/x", b"{}"))
    return str(caught.value)


# --- AWS ------------------------------------------------------------------------------------------

PAIR = Identity(
    kind="aws", access_key_id=secret(KEY_ID), secret_access_key=secret(KEY), region="eu-central-1"
)


def signature(target: str, headers: dict[str, str], body: bytes, key: str = KEY) -> str:
    """SigV4 after AWS's page on it, by hand; `headers` are those that were sent."""
    path, _, query = target.partition("?")
    authorization = headers["authorization"]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    scope = authorization.partition("Credential=")[2].partition(",")[0].partition("/")[2]
    day, region, service, _ = scope.split("/")
    # A path is escaped once more than it is sent; a query is sorted.
    canonical = "\n".join(
        [
            "POST",
            quote(path, safe="/~"),
            "&".join(sorted(query.split("&"))) if query else "",
            *(f"{name}:{headers[name].strip()}" for name in names),
            "",
            ";".join(names),
            sha256(body).hexdigest(),
        ]
    )
    digest = sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, digest])
    made = f"AWS4{key}".encode()
    for step in (day, region, service, "aws4_request", text):
        made = hmac.new(made, step.encode(), sha256).digest()
    return made.hex()


def test_every_request_is_signed() -> None:
    path = "/model/us.amazon.nova-lite-v1%3A0/converse"
    pieces = Pieces([b'{"a":"', b"x" * LARGE_BYTES, b'"}'])
    mended = Outgoing(path, b"stand-in")
    mended.mended = pieces
    wanted = [Outgoing(path, b'{"messages":[]}'), Outgoing("/model/m/converse-stream", b"{}"), mended]
    for prefix, query in (("", ()), ("/through", (("b", "2 3"), ("a", "ü")))):
        for request in sent(PAIR, *wanted, prefix=prefix, query=query):
            first, headers, body = parts(request)
            target = first.split(" ")[1]
            assert headers["x-amz-content-sha256"] == sha256(body).hexdigest()
            assert "/eu-central-1/bedrock/aws4_request" in headers["authorization"]
            assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(
                headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
            )
            assert headers["authorization"].endswith(f"Signature={signature(target, headers, body)}")
            assert KEY not in request.decode()
            assert "x-amz-security-token" not in headers
            assert unquote(target).startswith(prefix)


def test_a_lent_key_comes_with_its_token() -> None:
    lent = msgspec.structs.replace(PAIR, session_token=secret(SESSION))
    [request] = sent(lent, Outgoing("/x", b"{}"))
    _, headers, body = parts(request)
    assert headers["x-amz-security-token"] == SESSION
    assert "x-amz-security-token" in headers["authorization"]
    assert headers["authorization"].endswith(signature("/x", headers, body))


def test_keys_are_found_where_aws_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    file.write_text(f"[work]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {KEY}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    [request] = sent(Identity(kind="aws", profile="work", region="r"), Outgoing("/x", b"{}"))
    _, headers, body = parts(request)
    assert headers["authorization"].endswith(signature("/x", headers, body))

    assert "ProfileNotFound" in fails(Identity(kind="aws", profile="play", region="r"))
    assert "none in the environment" in fails(Identity(kind="aws", region="r"))

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    [request] = sent(Identity(kind="aws", region="r"), Outgoing("/x", b"{}"))
    _, headers, body = parts(request)
    assert headers["authorization"].endswith(signature("/x", headers, body, "another"))


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com", "eu-west-1"),
        ("gateway.example.com", None),
    ],
)
def test_a_region_is_read_off_the_host(host: str, region: str | None) -> None:
    async def main() -> str:
        address = Address(host, 443, tls=True)
        pool = Pool(address)
        try:
            return repr(make_proof("far", msgspec.structs.replace(PAIR, region=None), Place(pool, address)))
        finally:
            await pool.close()

    if region is None:
        with pytest.raises(SettingsError, match="region"):
            run(main())
    else:
        assert run(main()) == f"AwsKeys('{region}')"


# --- Google ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2048)


def service_account(folder: Path, url: str, key: rsa.RSAPrivateKey) -> File:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": "gate@project.iam.gserviceaccount.com",
                "private_key_id": "1",
                "private_key": pem.decode(),
                "token_uri": f"{url}/token",
            }
        )
    )
    return File(path)


TOKEN = {"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"}


def test_a_service_account_gets_one_token_for_many_requests(
    tmp_path: Path, private_key: rsa.RSAPrivateKey
) -> None:
    with giving((200, TOKEN)) as giver:
        identity = Identity(kind="google", file=service_account(tmp_path, giver.url, private_key))
        requests = sent(identity, *[Outgoing("/x", b"{}")] * 3)
    assert [parts(request)[1]["authorization"] for request in requests] == ["Bearer ya29.token"] * 3
    [(path, _, form)] = giver.seen
    assert path == "/token"
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    public = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    decode: Any = jwt.decode
    claims = decode(form["assertion"], verify=False)
    assert claims["iss"] == "gate@project.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    _verify(form["assertion"], public)


def _verify(assertion: str, public: bytes) -> None:
    from base64 import urlsafe_b64decode

    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    signed, _, made = assertion.rpartition(".")
    key = serialization.load_pem_public_key(public)
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(urlsafe_b64decode(made + "=="), signed.encode(), padding.PKCS1v15(), SHA256())


def test_the_machines_own_credentials_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with giving((200, TOKEN)) as giver:
        path = tmp_path / "own.json"
        path.write_text(
            json.dumps(
                {
                    "type": "authorized_user",
                    "client_id": "c",
                    "client_secret": "s",
                    "refresh_token": "r",
                    "token_uri": f"{giver.url}/token",
                }
            )
        )
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{giver.url}/token")
        for identity in (Identity(kind="google"), Identity(kind="google", file=File(path))):
            [request] = sent(identity, Outgoing("/x", b"{}"))
            assert parts(request)[1]["authorization"] == "Bearer ya29.token"
    assert [form["refresh_token"] for _, _, form in giver.seen] == ["r", "r"]


def test_what_google_refuses_is_told_without_what_was_sent(
    tmp_path: Path, private_key: rsa.RSAPrivateKey
) -> None:
    with giving((400, {"error": "invalid_grant", "error_description": "gate@project"})) as giver:
        identity = Identity(kind="google", file=service_account(tmp_path, giver.url, private_key))
        said = fails(identity)
    assert "Google gives none" in said
    assert "gate@project" not in said
    assert "Google gives none" in fails(identity)  # nobody listens there any more


def test_a_file_that_is_none_of_googles_is_found_at_once(tmp_path: Path) -> None:
    for text in ("not json", "[]"):
        path = tmp_path / "x.json"
        path.write_text(text)
        with pytest.raises(SettingsError, match="not a file of Google"):
            sent(Identity(kind="google", file=File(path)), Outgoing("/x", b"{}"))


# --- Entra ----------------------------------------------------------------------------------------


def entra(url: str) -> Identity:
    return Identity(
        kind="entra", tenant_id="tenant", client_id="client", client_secret=secret("hush/+"), authority=url
    )


def test_an_application_gets_a_token_by_its_secret() -> None:
    with giving((200, {"access_token": "ey.token", "expires_in": 3599})) as giver:
        requests = sent(entra(giver.url + "/"), *[Outgoing("/x", b"{}")] * 2)
    assert [parts(request)[1]["authorization"] for request in requests] == ["Bearer ey.token"] * 2
    assert [(path, form) for path, _, form in giver.seen] == [
        (
            "/tenant/oauth2/v2.0/token",
            {
                "grant_type": "client_credentials",
                "client_id": "client",
                "client_secret": "hush/+",
                "scope": "https://cognitiveservices.azure.com/.default",
            },
        )
    ]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": "invalid_client", "error_description": "AADSTS7000215: hush/+"}, "invalid_client"),
        (200, {"token": "x"}, "no token"),
        (200, "<html>", "status 200"),
        (302, "", "status 302"),
        (400, {"error": "hush/+\n"}, "no token"),
    ],
    ids=["refused", "empty", "html", "redirect", "odd"],
)
def test_what_entra_refuses_is_told_without_the_secret(status: int, answer: Any, said: str) -> None:
    with giving((status, answer)) as giver:
        told = fails(entra(giver.url))
    assert said in told
    assert "hush" not in told
    assert all(path != "/elsewhere" for path, _, _ in giver.seen)


def test_nobody_there_is_told() -> None:
    with giving((200, {})) as giver:
        url = giver.url
    assert "cannot be reached" in fails(entra(url))


@pytest.mark.parametrize("kind", ["aws", "google"])
def test_a_missing_library_is_told_with_its_command(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins
    import importlib

    def missing(found: Callable[..., Any]) -> Callable[..., Any]:
        def load(name: str, *rest: Any, **named: Any) -> Any:
            if name.startswith(("botocore", "google")):
                raise ImportError(name)
            return found(name, *rest, **named)

        return load

    monkeypatch.setattr(builtins, "__import__", missing(builtins.__import__))
    monkeypatch.setattr("headgate.backends.identity_google.import_module", missing(importlib.import_module))
    extra = {"aws": "bedrock", "google": "vertex"}[kind]
    with pytest.raises(SettingsError, match=rf"pip install 'headgate\[{extra}\]'"):
        sent(Identity(kind=kind, region="r" if kind == "aws" else None), Outgoing("/x", b"{}"))
