"""Trials of upstreams on real sockets, well and wrong in every way: the words must name what is wrong."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from headgate.core.secret import Secret
from headgate.core.settings import Identity, Upstream
from headgate.core.settings_routing import Model
from headgate.trial.ask import Trial, try_upstream
from tests.backends.certificates import Authority
from tests.backends.scripted import Line, Script, full_backlog, scripted
from tests.conftest import run, unused_port
from tests.faults import misbehave as wrong
from tests.faults.asked import JSON_HEAD, STREAM_HEAD, Asked, chunk, with_length

KEY = "sk-the-key-nobody-may-see-0123"
LIMIT_MS = 400
"""For those who never answer."""


def like(misbehave: wrong.Misbehaviour, *, only_streams: bool = False) -> Script:
    """An upstream that does this with every request, or with streams alone."""

    async def script(line: Line) -> None:
        while True:
            request = (await line.request()).partition(b"\r\n\r\n")[2]
            asked = Asked("", 0, bool(request and json.loads(request).get("stream")))
            well = only_streams and not asked.stream
            try:
                await (wrong.answer if well else misbehave)(line, asked)
            except wrong.HangUp:
                return

    return script


def upstream(base_url: str, **more: Any) -> Upstream:
    key = Secret(KEY, origin="env:UP_KEY")
    fields = {"name": "up", "base_url": base_url, "models": (Model(name="m"),), "api_key": key}
    return Upstream(**(fields | more))  # type: ignore[arg-type]


async def tried(base_url: str, **more: Any) -> Trial:
    settings = upstream(base_url, **more)
    (trial,) = await try_upstream(settings, settings.models[0], limit_ms=LIMIT_MS)
    assert KEY not in repr(trial)
    return trial


def try_script(script: Script, path: str = "/v1", **more: Any) -> Trial:
    """The trial of an upstream that follows a script."""

    async def main() -> Trial:
        async with scripted(script) as server:
            return await tried(f"http://127.0.0.1:{server.port}{path}", **more)

    return run(main())


def test_all_is_well() -> None:
    trial = try_script(like(wrong.answer))
    assert trial.ok
    assert [(finding.step, finding.detail) for finding in trial.findings] == [
        ("whole", "answers"),
        ("stream", "streams"),
    ]
    assert trial.whole_ms is not None
    assert trial.stream_ms is not None
    assert trial.first_token_ms is not None
    assert (trial.upstream, trial.model, trial.key) == ("up", "m", "env:UP_KEY")


async def _json(line: Line, status: str, body: dict[str, Any]) -> None:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n".encode()
    await line.send(with_length(head, json.dumps(body).encode()))


def says(status: str, message: str, code: str | None = None) -> wrong.Misbehaviour:
    async def script(line: Line, asked: Asked) -> None:
        await _json(line, status, {"error": {"message": message, "type": "t", "param": None, "code": code}})

    return script


async def no_choices(line: Line, asked: Asked) -> None:
    await _json(line, "200 OK", {"status": "healthy"})


async def error_inside(line: Line, asked: Asked) -> None:
    await _json(line, "200 OK", {"error": {"message": "the model crashed"}})


async def redirect(line: Line, asked: Asked) -> None:
    await line.send(
        b"HTTP/1.1 301 Moved\r\nlocation: https://elsewhere.test/v1/\r\ncontent-length: 0\r\n\r\n"
    )


async def tls_expected(line: Line, asked: Asked) -> None:
    page = b"<html><center>The plain HTTP request was sent to HTTPS port</center></html>"
    await line.send(with_length(b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\n", page))


async def not_streaming(line: Line, asked: Asked) -> None:
    await wrong.answer(line, Asked("", 0, stream=False))


WHOLE = {
    "401": (wrong.status(401), "refuses the key (401), which is from env:UP_KEY", "is it complete"),
    "403": (says("403 No", "Not in your country"), "may not do that (403): Not in your", "permissions"),
    "402": (wrong.status(402), "the account there is used up (402)", "payment"),
    "429": (wrong.status(429), "the rate limit there is reached (429)", "try again later"),
    "quota": (says("429 No", "Quota exceeded", "insufficient_quota"), "used up (429)", "payment"),
    "500": (wrong.status(500), "fails there (500)", "log"),
    "404": (wrong.status(404), "knows no such path (404)", "/v1"),
    "model": (says("404 No", "No model `m`", "model_not_found"), 'has no model "m"', "called there"),
    "400 model": (says("400 No", "unknown model m"), "refuses the request (400)", 'called "m" there?'),
    "400": (says("400 No", "top_k is required"), "refuses the request (400): top_k is required", "quirks"),
    "redirect": (redirect, "redirect (301) to https://elsewhere.test/v1/", "base_url"),
    "to TLS": (tls_expected, "the server there speaks TLS", "https://"),
    "HTML": (wrong.html_with_200, "answers with a web page", "login page"),
    "garbage": (wrong.garbage, "is not HTTP", "if it speaks TLS"),
    "cut short": (wrong.json_cut_short, "is no JSON object (application/json)", "model server"),
    "no choices": (no_choices, "JSON that is not what was asked for", "dialect"),
    "error inside": (error_inside, "answers 200 with an error inside: the model crashed", "log"),
    "gzip": (wrong.gzip_unasked, "compresses its replies", "proxy"),
    "silence": (wrong.silence, "no answer within 0.4 s", "still loading"),
    "drip": (wrong.drip, "no answer within 0.4 s", "overloaded"),
    "closes": (wrong.close_before_head, "closed without an answer", "log"),
    "resets": (wrong.reset_inside_head, "broke off in the middle", "log"),
    "for ever": (wrong.never_ends, "no answer within 0.4 s", "overloaded"),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_wrong_is_said_in_plain_words(case: str) -> None:
    misbehave, detail, advice = WHOLE[case]
    trial = try_script(like(misbehave))
    (finding,) = trial.findings
    assert not trial.ok
    assert detail in finding.detail
    assert advice in finding.advice
    assert "10.0.0.5" not in finding.detail


STREAM: dict[str, tuple[wrong.Misbehaviour, str]] = {
    "not at all": (not_streaming, "does not stream (application/json)"),
    "breaks off": (wrong.end_mid_answer, "the stream ends before its answer does"),
    "error": (wrong.error_mid_answer, "an error in the stream: out of memory"),
    "reset": (wrong.reset_mid_event, "broke off in the middle of its answer"),
    "silent": (wrong.silence_mid_answer, "no answer within"),
    "500": (wrong.status(500), "fails there (500)"),
}


@pytest.mark.parametrize("case", STREAM)
def test_a_stream_can_be_wrong_where_a_whole_reply_is_well(case: str) -> None:
    misbehave, detail = STREAM[case]
    trial = try_script(like(misbehave, only_streams=True))
    assert not trial.ok
    assert [finding.ok for finding in trial.findings] == [True, False]
    assert detail in trial.findings[1].detail


def test_what_is_odd_but_works_is_told() -> None:
    assert try_script(like(wrong.no_done)).ok
    trial = try_script(like(wrong.malformed_line))
    assert trial.ok
    assert trial.findings[1].detail == "streams, but 3 events are malformed"


def test_a_server_that_reports_no_usage() -> None:
    async def mute(line: Line, asked: Asked) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": "OK"}}
        if not asked.stream:
            await line.send(with_length(JSON_HEAD, json.dumps({"choices": [choice]}).encode()))
            return
        delta = {"index": 0, "delta": {"content": "OK"}, "finish_reason": "stop"}
        said = b"data: " + json.dumps({"choices": [delta]}).encode() + b"\n\ndata: [DONE]\n\n"
        await line.send(STREAM_HEAD, chunk(said), b"0\r\n\r\n")

    trial = try_script(like(mute))
    assert trial.ok
    told = [finding for finding in trial.findings if finding.step == "usage"]
    assert [finding.detail for finding in told] == ["replies report no usage", "streams report no usage"]
    assert {finding.advice for finding in told} == {"its tokens are estimated"}


def test_newer_models_want_another_field() -> None:
    async def picky(line: Line) -> None:
        while True:
            body = json.loads((await line.request()).partition(b"\r\n\r\n")[2])
            if "max_tokens" in body:
                message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
                await says("400 No", message)(line, Asked("", 0, stream=False))
            else:
                await wrong.answer(line, Asked("", 0, bool(body.get("stream"))))

    assert try_script(picky).ok


def served_at(*paths: str) -> Script:
    """Answers at these paths alone, with a list of models at /v1/models."""

    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            path = request.split(b" ")[1].decode()
            if path.startswith("/v1/models"):
                models = {"data": [{"id": "org/m-2024"}, {"id": "other"}]}
                await _json(line, "200 OK", models)
            elif path in paths:
                body = json.loads(request.partition(b"\r\n\r\n")[2])
                if body["model"] != "org/m-2024":
                    await says("404 No", "no such model", "model_not_found")(line, Asked("", 0, stream=False))
                else:
                    await wrong.answer(line, Asked("", 0, bool(body.get("stream"))))
            else:
                await line.send(with_length(b"HTTP/1.1 404 Not Found\r\n", b"nothing here"))

    return script


def test_a_base_url_without_v1() -> None:
    trial = try_script(served_at("/v1/chat/completions"), path="")
    assert trial.findings[0].detail == "knows no such path (404), but does below /v1"
    assert trial.findings[0].advice == "base_url lacks /v1 at its end: add it"
    assert "Most servers want /v1" in try_script(served_at(), path="/api").findings[0].advice


def test_a_model_that_is_called_otherwise_there() -> None:
    (finding,) = try_script(served_at("/v1/chat/completions")).findings
    assert finding.detail == 'has no model "m"'
    assert finding.advice == "it has org/m-2024, other: set upstream_name"
    model = Model(name="m", upstream_name="org/m-2024")
    assert try_script(served_at("/v1/chat/completions"), models=(model,)).ok


def test_every_key_is_tried() -> None:
    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            good = b"Bearer sk-good" in request
            asked = Asked("", 0, b'"stream":true' in request)
            await (wrong.answer if good else wrong.status(401))(line, asked)

    async def main() -> None:
        async with scripted(script) as server:
            keys = [
                Secret(value, origin=f"env:{name}") for name, value in (("A", "sk-bad"), ("B", "sk-good"))
            ]
            settings = upstream(f"http://127.0.0.1:{server.port}/v1", api_key=None, api_keys=tuple(keys))
            trials = await try_upstream(settings, settings.models[0], limit_ms=LIMIT_MS)
            assert [(trial.key, trial.ok) for trial in trials] == [("env:A", False), ("env:B", True)]

    run(main())


def test_no_key_at_all() -> None:
    (finding,) = try_script(like(wrong.status(401)), api_key=None).findings
    assert finding.detail == "wants a key (401), and none is sent"
    assert "api_key = " in finding.advice


# --- connections ------------------------------------------------------------------------------------------


def reach(base_url: str, **more: Any) -> str:
    (finding,) = run(tried(base_url, **more)).findings
    assert finding.step == "connect"
    assert finding.advice
    return finding.detail


def test_nobody_listens() -> None:
    port = unused_port()
    assert reach(f"http://127.0.0.1:{port}/v1") == f"nobody listens at 127.0.0.1:{port}"


def test_a_name_that_is_not_known() -> None:
    # The resolver is not asked: a name that cannot be one is refused by the library itself.
    assert reach(f"http://{'x' * 64}.test/v1") == f"the name {'x' * 64}.test is not known"


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    assert reach(f"unix:{path}:/v1") == f"{path}: No such file or directory"


TLS: dict[str, tuple[Callable[[Authority], ssl.SSLContext], str]] = {
    "expired": (lambda authority: authority.server(expired=True), "the certificate of localhost has expired"),
    "name": (
        lambda authority: authority.server("other.test"),
        "the certificate shown there is not for localhost",
    ),
    "authority": (lambda _: _strangers(), "the certificate of localhost is signed by nobody we trust"),
}


def _strangers() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


@pytest.mark.parametrize("case", TLS)
def test_certificates(case: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    make, detail = TLS[case]

    async def main() -> Trial:
        async with scripted(like(wrong.answer), tls=make(authority)) as server:
            return await tried(f"https://localhost:{server.port}/v1", ca_file=str(authority.file))

    (finding,) = run(main()).findings
    assert finding.detail == detail
    assert finding.advice


def test_tls_where_there_is_none() -> None:
    async def main() -> Trial:
        async with scripted(_hanging) as server:
            return await tried(f"https://localhost:{server.port}/v1")

    (finding,) = run(main()).findings
    assert "does not speak TLS" in finding.detail
    assert "http://" in finding.advice


def test_a_server_that_waits_for_plain_words() -> None:
    async def main() -> Trial:
        async with scripted(_deaf) as server:
            return await tried(f"https://localhost:{server.port}/v1", connect_timeout_ms=300)

    (finding,) = run(main()).findings
    assert finding.detail.startswith("no connection to localhost:")
    assert "if it speaks plain HTTP" in finding.advice


async def _deaf(line: Line) -> None:
    line.stop_reading()
    await line.writer.wait_closed()


async def _hanging(line: Line) -> None:
    await line.reader.read(100)
    await line.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await line.gone()


def test_a_connection_that_never_comes() -> None:
    with full_backlog() as port:
        assert reach(f"http://127.0.0.1:{port}/v1") == f"no connection to 127.0.0.1:{port} in time"


def test_models_that_make_vectors() -> None:
    async def vectors(line: Line, asked: Asked) -> None:
        await _json(
            line, "200 OK", {"data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3}}
        )

    async def main(misbehave: wrong.Misbehaviour) -> Trial:
        async with scripted(like(misbehave)) as server:
            settings = upstream(f"http://127.0.0.1:{server.port}/v1")
            (trial,) = await try_upstream(settings, settings.models[0], limit_ms=LIMIT_MS, embeddings=True)
            return trial

    trial = run(main(vectors))
    assert [finding.detail for finding in trial.findings] == ["answers"]
    assert (trial.ok, trial.stream_ms) == (True, None)
    assert "not what was asked for" in run(main(no_choices)).findings[0].detail
    assert "web page" in run(main(wrong.html_with_200)).findings[0].detail


def test_an_identity_in_place_of_a_key() -> None:
    secret = Secret(KEY, origin="env:AWS")
    identity = Identity(kind="aws", region="eu-west-1", access_key_id=secret, secret_access_key=secret)
    trial = try_script(like(wrong.status(403)), dialect="bedrock", api_key=None, identity=identity, path="")
    assert trial.key == "identity:aws"
    assert "may not do that (403)" in trial.findings[0].detail


# --- other dialects -----------------------------------------------------------------------------------------

CASES = Path(__file__).parents[1] / "dialects"


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_other_dialects_are_spoken(dialect: str) -> None:
    def reply(kind: str) -> bytes:
        (path,) = (CASES / dialect / f"plain_{kind}").glob("reply*")
        return path.read_bytes()

    async def script(line: Line) -> None:
        while True:
            request = await line.request()
            path, _, body = request.partition(b"\r\n\r\n")
            if b'"stream":true' in body or b"streamGenerateContent" in path:
                await line.send(STREAM_HEAD, chunk(reply("stream")), b"0\r\n\r\n")
            else:
                await line.send(with_length(JSON_HEAD, reply("whole")))

    trial = try_script(script, dialect=dialect)
    assert trial.ok, trial
    assert [finding.detail for finding in trial.findings] == ["answers", "streams"]
