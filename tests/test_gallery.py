"""Pictures through a real gate: drawn in chat and at /images, behind links, changed, fetched, refused."""

from __future__ import annotations

import base64
import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
import pytest
from PIL import Image

from headgate.core.errors import SettingsError
from headgate.core.settings_media import Media
from headgate.gallery import Gallery
from tests.conftest import run
from tests.gates import RunningGate, open_gate
from tests.models.paints import shade, write_paints

PROMPT = "A0!"  # a colour, to this painter
RED = (250, 10, 10)


def drawn(colour: tuple[int, int, int] = RED, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, form)
    return out.getvalue()


class Site(BaseHTTPRequestHandler):
    """A picture in a format that engines do not read, and one that is none."""

    def do_GET(self) -> None:
        body = drawn(form="WEBP") if self.path == "/red.webp" else b"just text"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    hand = write_paints(tmp_path_factory.mktemp("paints"))
    toml = f"""
        [[engine]]
        name = "painter"
        kind = "image"
        model = "{hand}"
        [aliases]
        dall-e-3 = "painter"
        gpt-image-1 = "painter"
        [media]
        fetch_networks = ["127.0.0.1/32"]
    """
    with open_gate(tmp_path_factory.mktemp("gate"), toml) as running:
        yield running


@pytest.fixture(scope="module")
def client(gate: RunningGate) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{gate.port}/v1", api_key=gate.key, max_retries=0)


def seen(url: str) -> tuple[int, ...]:
    """The colour in the middle of the picture that a link leads to; no key is sent."""
    with urlopen(url, timeout=60) as reply:
        assert reply.headers["content-type"] == "image/png"
        return colour_of(reply.read())


def colour_of(data: bytes) -> tuple[int, ...]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    colour = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(colour, tuple)
    return colour


def near(colour: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(colour, other, strict=True)) <= 2


def asked(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": list(parts)}]


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def link_of(message: Any) -> str:
    (image,) = message.model_extra["images"]
    url = str(image["image_url"]["url"])
    assert message.content == f"![image]({url})"
    return url


def test_a_conversation_brings_a_picture_behind_a_link(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(model="painter", messages=asked(words(PROMPT)))
    assert completion.model == "painter"
    assert near(seen(link_of(completion.choices[0].message)), shade(PROMPT))
    assert completion.usage is not None
    assert completion.usage.completion_tokens > 0


def test_a_streamed_one_brings_it_too(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="painter", messages=asked(words(PROMPT)), stream=True
    ) as stream:
        deltas = [chunk.choices[0].delta for chunk in stream if chunk.choices]
    assert deltas[0].role == "assistant"
    (shown,) = [delta for delta in deltas if delta.content]
    assert near(seen(link_of(shown)), shade(PROMPT))


def test_a_picture_of_ours_can_be_changed_again(client: openai.OpenAI) -> None:
    first = client.images.generate(model="dall-e-3", prompt=PROMPT, size="512x512")
    assert first.data
    url = first.data[0].url
    assert url is not None
    completion = client.chat.completions.create(model="painter", messages=asked(words("zzz"), picture(url)))
    # This painter keeps what it is shown.
    assert near(seen(link_of(completion.choices[0].message)), shade(PROMPT))


def test_a_picture_from_elsewhere_is_fetched_and_made_readable(client: openai.OpenAI) -> None:
    with site() as url:
        completion = client.chat.completions.create(
            model="painter", messages=asked(words("x"), picture(f"{url}/red.webp"))
        )
        assert near(seen(link_of(completion.choices[0].message)), RED)
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                model="painter",
                messages=asked(words("x"), picture(f"{url}/red.webp"), picture(f"{url}/text")),
            )
    assert refused.value.param == "messages[0].content[2].image_url.url"
    assert refused.value.code == "invalid_image_format"


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data", "http://[::1]/x", "file:///etc/passwd"]
)
def test_nothing_inside_is_fetched(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="painter", messages=asked(words("x"), picture(url)))
    assert refused.value.param == "messages[0].content[1].image_url.url"


def test_models_known_for_base64_answer_in_it(client: openai.OpenAI) -> None:
    reply = client.images.generate(model="gpt-image-1", prompt=PROMPT, size="1024x1024")
    assert reply.data
    assert reply.data[0].b64_json is not None
    assert near(colour_of(base64.b64decode(reply.data[0].b64_json)), shade(PROMPT))
    assert reply.usage is not None
    assert reply.usage.output_tokens == 4096


def test_uploads_are_changed_and_varied(client: openai.OpenAI) -> None:
    edited = client.images.edit(model="painter", image=drawn(), prompt="x", response_format="url")
    assert edited.data
    assert near(seen(str(edited.data[0].url)), RED)
    with pytest.deprecated_call():  # OpenAI has no model left for it
        varied = client.images.create_variation(model="painter", image=drawn(), response_format="url", n=2)
    assert varied.data
    assert all(near(seen(str(one.url)), RED) for one in varied.data)


def test_a_json_edit_is_taken_where_forms_are(gate: RunningGate) -> None:
    with site() as url:
        body = {"model": "painter", "prompt": "x", "images": [{"image_url": f"{url}/red.webp"}]}
        connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
        headers = {"authorization": f"Bearer {gate.key}", "content-type": "application/json"}
        connection.request("POST", "/v1/images/edits", json.dumps(body), headers)
        reply = json.loads(connection.getresponse().read())
        connection.close()
    assert near(seen(reply["data"][0]["url"]), RED)


def test_a_streamed_picture_comes_in_parts(client: openai.OpenAI) -> None:
    stream = client.images.generate(
        model="gpt-image-1", prompt=PROMPT, size="1024x1024", stream=True, partial_images=1
    )
    kinds = [event.type for event in stream]
    assert kinds == ["image_generation.partial_image", "image_generation.completed"]


@pytest.mark.parametrize(
    ("data", "code"), [(b"just text", "invalid_image_format"), (drawn()[:80], "image_parse_error")]
)
def test_an_upload_that_is_no_picture_names_its_field(client: openai.OpenAI, data: bytes, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(model="painter", image=data, prompt="x")
    assert (refused.value.param, refused.value.code) == ("image", code)


def test_a_link_that_was_guessed_leads_nowhere(gate: RunningGate) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
    connection.request("GET", f"/media/9999999999-{'a' * 43}.png")
    assert connection.getresponse().status == 404
    connection.close()


def test_new_settings_are_taken_only_when_all_others_were(tmp_path: Path) -> None:
    async def main() -> None:
        gallery = Gallery(Media(public_url="https://old.example"), tmp_path)
        take = gallery.prepare(Media(public_url="https://new.example"))
        assert gallery.host("image/png", "QUFB").startswith("https://old.example/media/")
        take()
        assert gallery.host("image/png", "QUFB").startswith("https://new.example/media/")
        with pytest.raises(SettingsError):
            gallery.prepare(Media(store="nosuch://x"))
        await gallery.stop()

    run(main())
