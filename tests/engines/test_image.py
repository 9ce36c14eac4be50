"""The image engine's own program, over its socket, with a painter whose every colour is known beforehand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.engines.hosted import hosted
from tests.engines.running import RunningEngine, UnixConnection
from tests.models.paints import shade, write_paints

GREEN = (10, 200, 30)
PROMPT = "A0!"  # a colour, to this painter
SMALL = {"model": "tiny", "prompt": PROMPT, "size": "64x64"}
FORM = "multipart/form-data; boundary=cut"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    hand = write_paints(tmp_path_factory.mktemp("paints"))
    with hosted("image", f"--model={hand}", "--alias=tiny", "--limit=3") as running:
        yield running


def generate(engine: RunningEngine, **body: Any) -> tuple[int, dict[str, Any]]:
    status, data = engine.ask(
        "/v1/images/generations", {"model": "tiny", "prompt": PROMPT, "size": "64x64"} | body
    )
    return status, json.loads(data)


def send(engine: RunningEngine, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    connection = UnixConnection(engine.socket_path)
    connection.request("POST", path, body, {"content-type": kind})
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, data


def form(files: list[tuple[str, bytes]], **fields: object) -> bytes:
    parts = [
        f'--cut\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    for name, data in files:
        head = f'--cut\r\ncontent-disposition: form-data; name="{name}"; filename="upload"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + b"--cut--\r\n"


def edit(
    engine: RunningEngine, files: list[tuple[str, bytes]], **fields: object
) -> tuple[int, dict[str, Any]]:
    body = form(files, **{"model": "tiny", "prompt": PROMPT} | fields)
    status, data = send(engine, "/v1/images/edits", body, FORM)
    return status, json.loads(data)


def image(datum: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(datum["b64_json"])))


def colours(picture: Image.Image) -> Any:
    return np.asarray(picture.convert("RGB")).astype(int)


def drawn(
    size: tuple[int, int], colour: tuple[int, ...] = GREEN, form: str = "PNG", mode: str = "RGB"
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, form)
    return out.getvalue()


def refusal(answer: tuple[int, dict[str, Any]], status: int = 400) -> dict[str, Any]:
    assert answer[0] == status, answer
    error = answer[1]["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


# --- drawing --------------------------------------------------------------------------------------


def test_a_picture_is_what_the_prompt_says_in_the_size_that_was_asked_for(engine: RunningEngine) -> None:
    status, reply = generate(engine, size="96x160")
    assert status == 200
    (datum,) = reply["data"]
    picture = image(datum)
    assert (picture.format, picture.size) == ("PNG", (96, 160))
    assert np.abs(colours(picture) - shade(PROMPT)).max() <= 1
    assert (reply["size"], reply["output_format"], reply["quality"]) == ("96x160", "png", "medium")
    patches = 96 * 160 // 256
    assert reply["usage"] == {
        "input_tokens": len(PROMPT),
        "output_tokens": patches,
        "total_tokens": len(PROMPT) + patches,
        "input_tokens_details": {"text_tokens": len(PROMPT), "image_tokens": 0},
    }


def test_size_left_open_is_openais_default(engine: RunningEngine) -> None:
    for size in (None, "auto"):
        assert image(generate(engine, size=size)[1]["data"][0]).size == (1024, 1024)


@pytest.mark.parametrize(
    ("form", "options"),
    [("png", {}), ("jpeg", {"output_compression": 90}), ("webp", {"output_compression": 0})],
)
def test_every_output_format(engine: RunningEngine, form: str, options: dict[str, int]) -> None:
    status, reply = generate(engine, output_format=form, **options)
    assert (status, reply["output_format"]) == (200, form)
    assert image(reply["data"][0]).format == form.upper()


def test_compression_makes_it_smaller(engine: RunningEngine) -> None:
    sizes = [
        len(
            generate(engine, output_format="jpeg", output_compression=percent, size="512x512")[1]["data"][0][
                "b64_json"
            ]
        )
        for percent in (1, 100)
    ]
    assert sizes[0] < sizes[1]


def test_a_url_holds_the_picture_itself(engine: RunningEngine) -> None:
    (datum,) = generate(engine, response_format="url")[1]["data"]
    head, _, text = datum["url"].partition(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(text))).size == (64, 64)
    assert "b64_json" not in datum


def test_n_pictures(engine: RunningEngine) -> None:
    status, reply = generate(engine, n=3)
    assert (status, len(reply["data"])) == (200, 3)
    assert reply["usage"]["output_tokens"] == 3 * 16


def test_style_and_quality_are_heard(engine: RunningEngine) -> None:
    vivid, natural = (
        colours(image(generate(engine, style=style)[1]["data"][0]))[0, 0] for style in ("vivid", "natural")
    )
    assert np.abs(vivid - shade(PROMPT, 1 + 1.5 * 1.2)).max() <= 1
    assert np.abs(natural - shade(PROMPT, 1 + 1.5 * 0.8)).max() <= 1
    assert generate(engine, quality="hd")[1]["quality"] == "hd"


def events(engine: RunningEngine, **body: Any) -> list[dict[str, Any]]:
    status, data = engine.ask("/v1/images/generations", SMALL | {"stream": True} | body)
    assert status == 200
    found = []
    for block in data.decode().strip().split("\n\n"):
        name, _, content = block.partition("\n")
        event = json.loads(content.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def test_a_stream_shows_partial_pictures_and_ends_with_the_whole_one(engine: RunningEngine) -> None:
    seen = events(engine, partial_images=2)
    assert [event["type"].rpartition(".")[2] for event in seen] == [
        "partial_image",
        "partial_image",
        "completed",
    ]
    assert [event.get("partial_image_index") for event in seen] == [0, 1, None]
    assert all(image(event).size == (64, 64) for event in seen)
    assert seen[-1]["usage"]["output_tokens"] == 16
    assert np.abs(colours(image(seen[-1])) - shade(PROMPT)).max() <= 1


def test_a_stream_without_partial_pictures_is_one_event(engine: RunningEngine) -> None:
    assert [event["type"] for event in events(engine)] == ["image_generation.completed"]


# --- changing -------------------------------------------------------------------------------------


def test_what_a_mask_does_not_open_stays_to_the_pixel(engine: RunningEngine) -> None:
    mask = Image.new("RGBA", (80, 40), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 40, 40))
    out = io.BytesIO()
    mask.save(out, "PNG")
    status, reply = edit(engine, [("image", drawn((80, 40))), ("mask", out.getvalue())])
    assert status == 200, reply
    picture = image(reply["data"][0])
    assert picture.size == (80, 40)
    seen = colours(picture)
    assert (seen[:, 40:] == GREEN).all()
    assert np.abs(seen[5:35, 2:30] - shade(PROMPT)).max() <= 2
    assert reply["usage"]["input_tokens_details"]["image_tokens"] == 80 * 40 // 256


def test_without_a_mask_the_pictures_own_holes_are_filled(engine: RunningEngine) -> None:
    source = Image.new("RGBA", (64, 64), (*GREEN, 255))
    source.paste((0, 0, 0, 0), (0, 0, 64, 32))
    out = io.BytesIO()
    source.save(out, "PNG")
    seen = colours(image(edit(engine, [("image", out.getvalue())])[1]["data"][0]))
    assert np.abs(seen[2:28] - shade(PROMPT)).max() <= 2
    assert (seen[32:] == GREEN).all()


def test_several_pictures_are_changed_side_by_side(engine: RunningEngine) -> None:
    files = [("image[]", drawn((64, 64), colour)) for colour in ((250, 0, 0), (0, 0, 250))]
    status, reply = edit(engine, files)
    assert status == 200, reply
    picture = image(reply["data"][0])
    assert picture.size == (128, 64)
    assert colours(picture)[32, 20][0] > 240
    assert colours(picture)[32, 108][2] > 240


def test_a_json_edit_takes_data_uris(engine: RunningEngine) -> None:
    uri = "data:image/png;base64," + base64.b64encode(drawn((64, 64))).decode()
    body = {"model": "tiny", "prompt": PROMPT, "images": [{"image_url": uri}], "size": "auto"}
    status, data = engine.ask("/v1/images/edits", body)
    assert status == 200, data
    assert colours(image(json.loads(data)["data"][0]))[30, 30][1] > 190


def test_a_variation_needs_no_words(engine: RunningEngine) -> None:
    body = form([("image", drawn((32, 32)))], model="tiny", size="256x256", n=2)
    status, data = send(engine, "/v1/images/variations", body, FORM)
    assert status == 200, data
    pictures = json.loads(data)["data"]
    assert [image(one).size for one in pictures] == [(256, 256)] * 2


def test_a_streamed_edit_says_that_it_is_one(engine: RunningEngine) -> None:
    body = form([("image", drawn((64, 64)))], model="tiny", prompt=PROMPT, stream="true", partial_images=1)
    status, data = send(engine, "/v1/images/edits", body, FORM)
    assert status == 200
    assert b"event: image_edit.partial_image" in data
    assert b"event: image_edit.completed" in data


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"size": "64"}, "size"),
        ({"size": "4096x4096"}, "size"),
        ({"size": "0x64"}, "size"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"quality": "best"}, "quality"),
        ({"style": "wild"}, "style"),
        ({"response_format": "gif"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"background": "transparent"}, "background"),
        ({"moderation": "high"}, "moderation"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"partial_images": 1}, "partial_images"),
        ({"model": 5}, "model"),
    ],
)
def test_what_a_parameter_may_not_be(engine: RunningEngine, body: dict[str, Any], param: str) -> None:
    assert refusal(generate(engine, **body))["param"] == param


def test_another_model_is_not_here(engine: RunningEngine) -> None:
    assert refusal(generate(engine, model="other"), 404)["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("files", "param"),
    [
        ([("image", b"just text")], "image"),
        ([("image", drawn((64, 64))[:60])], "image"),
        ([("image", b"")], "image"),
        ([("mask", drawn((64, 64)))], "image"),
        ([("image", drawn((64, 64))), ("mask", drawn((32, 32), (0, 0, 0, 0), mode="RGBA"))], "mask"),
        ([("image", drawn((64, 64))), ("mask", drawn((64, 64)))], "mask"),
        ([("image[]", drawn((8, 8)))] * 17, "image"),
        ([("image", drawn((8, 8))), ("mask", drawn((8, 8))), ("mask", drawn((8, 8)))], "mask"),
        ([("picture", drawn((8, 8)))], "picture"),
    ],
)
def test_uploads_that_are_no_pictures_name_their_field(
    engine: RunningEngine, files: list[tuple[str, bytes]], param: str
) -> None:
    assert refusal(edit(engine, files))["param"] == param


def test_a_mask_goes_with_one_picture(engine: RunningEngine) -> None:
    clear = drawn((8, 8), (0, 0, 0, 0), mode="RGBA")
    files = [("image[]", drawn((8, 8))), ("image[]", drawn((8, 8))), ("mask", clear)]
    assert refusal(edit(engine, files))["code"] == "invalid_parameter_combination"


@pytest.mark.parametrize(
    "url", ["https://a.example/x.png", "file:///etc/passwd", "data:image/png;base64,?", "data:,x"]
)
def test_an_engine_fetches_nothing(engine: RunningEngine, url: str) -> None:
    body = {"model": "tiny", "prompt": PROMPT, "images": [{"image_url": url}]}
    status, data = engine.ask("/v1/images/edits", body)
    assert refusal((status, json.loads(data)))["param"] == "images[0].image_url"


def test_files_by_id_are_not_to_be_had(engine: RunningEngine) -> None:
    status, data = engine.ask(
        "/v1/images/edits", {"model": "tiny", "prompt": PROMPT, "images": [{"file_id": "x"}]}
    )
    assert refusal((status, json.loads(data)))["code"] == "unsupported_parameter"


def test_who_leaves_is_not_painted_for(engine: RunningEngine) -> None:
    for _ in range(3):  # as many as there are places
        connection = engine.begin(
            "/v1/images/generations", {"model": "tiny", "prompt": PROMPT, "n": 10, "size": "2048x2048"}
        )
        connection.close()
    status, _ = generate(engine)
    while status == 429:
        status, _ = generate(engine)
    assert status == 200


def test_more_than_there_is_room_for_are_told_when_to_come_back(engine: RunningEngine) -> None:
    slow = [
        engine.begin(
            "/v1/images/generations", {"model": "tiny", "prompt": PROMPT, "n": 10, "size": "1024x1024"}
        )
        for _ in range(3)
    ]
    try:
        status, reply = generate(engine)
        while status == 200:
            status, reply = generate(engine)
        assert refusal((status, reply), 429)["code"] == "rate_limit_exceeded"
    finally:
        for connection in slow:
            connection.close()
