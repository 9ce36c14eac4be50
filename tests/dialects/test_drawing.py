"""Conversations as images requests, and pictures as messages."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.body import open_body
from headgate.core.cut import WholeBodyNeeded
from headgate.core.endpoint import Endpoint
from headgate.core.errors import InvalidField, NotFound
from headgate.core.ports import Call, Outgoing
from headgate.core.seeing import PicturesWanted
from headgate.core.sse import DONE, LargeEventSplitter, events, payload
from headgate.dialects.drawing import Drawing
from headgate.endpoints import CHAT_COMPLETIONS, EMBEDDINGS, IMAGES_GENERATIONS

URI = "data:image/png;base64,iVBORw0KGgo="


class Shelf:
    """Gives links, and remembers for what."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str]] = []

    def __call__(self, kind: str, base64: str) -> str:
        self.kept.append((kind, base64))
        return f"https://gate.example/media/{len(self.kept)}"


def call(body: dict[str, Any], endpoint: Endpoint = CHAT_COMPLETIONS, shelf: Shelf | None = None) -> Call:
    assert endpoint.request is not None
    request, fields = open_body(json.dumps({"model": "draws"} | body).encode(), endpoint.request)
    stream = bool(body.get("stream"))
    return Call(
        endpoint, request, fields, stream, stream, "painter", 1_700_000_000, request_id="r1", host=shelf,
        model=str(body.get("model", "draws")), pictures_at_hand=True,
    )  # fmt: skip


def chat(*content: Any, shelf: Shelf | None = None, **fields: Any) -> Outgoing:
    messages = [{"role": "user", "content": one} for one in content]
    return Drawing().request(call({"messages": messages, **fields}, shelf=shelf))


def sent(outgoing: Outgoing) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outgoing.body)
    return found


def picture(url: str = URI) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


# --- there ----------------------------------------------------------------------------------------


def test_the_last_words_of_the_user_are_what_is_drawn() -> None:
    outgoing = chat("a dog", "a red circle", n=2, user="u", seed=7, size="512x512")
    assert outgoing.path == "/images/generations"
    assert sent(outgoing) == {
        "model": "painter", "prompt": "a red circle", "n": 2, "response_format": "b64_json",
        "user": "u", "seed": 7, "size": "512x512",
    }  # fmt: skip


def test_pictures_make_it_an_edit() -> None:
    outgoing = chat([words("make it green"), picture(), picture(URI + "2")])
    assert outgoing.path == "/images/edits"
    assert sent(outgoing)["images"] == [{"image_url": URI}, {"image_url": URI + "2"}]


def test_a_change_of_mind_is_about_the_newest_pictures() -> None:
    outgoing = chat([words("a"), picture("data:old")], [words("b"), picture()], "make it blue")
    assert sent(outgoing)["images"] == [{"image_url": URI}]
    assert sent(outgoing)["prompt"] == "make it blue"


def test_a_stream_asks_for_signs_of_life() -> None:
    body = sent(chat("a circle", stream=True))
    assert body["stream"] is True
    assert body["partial_images"] > 0


def test_what_steers_words_is_left_out_and_reported() -> None:
    outgoing = chat("a circle", temperature=0.5, max_tokens=10, stop="x")
    assert set(outgoing.dropped) == {"temperature", "max_tokens", "stop"}
    assert not set(sent(outgoing)) & set(outgoing.dropped)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text"]}, "modalities"),
    ],
)
def test_what_no_picture_can_be_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidField) as refused:
        chat("a circle", **fields)
    assert refused.value.param == param


@pytest.mark.parametrize("content", ["", "  \n", [picture()]])
def test_without_words_there_is_nothing_to_draw(content: Any) -> None:
    with pytest.raises(InvalidField) as refused:
        chat(content)
    assert refused.value.param == "messages[0].content"


def test_seventeen_pictures_are_too_many() -> None:
    with pytest.raises(InvalidField) as refused:
        chat([words("x"), *[picture()] * 17])
    assert refused.value.param == "messages[0].content"


def test_other_endpoints_are_not_for_painters() -> None:
    with pytest.raises(NotFound):
        Drawing().request(call({"input": "x"}, EMBEDDINGS))


@pytest.mark.parametrize(
    ("model", "fields", "form"),
    [
        ("dall-e-3", {}, "url"),
        ("starter-image", {}, "url"),
        ("gpt-image-1", {}, "b64_json"),
        ("dall-e-2", {"response_format": "b64_json"}, "b64_json"),
        ("gpt-image-1", {"response_format": "url"}, "url"),
    ],
)
def test_pictures_come_as_links_unless_the_model_is_known_for_base64(
    model: str, fields: dict[str, Any], form: str
) -> None:
    asked = call({"model": model, "prompt": "x", **fields}, IMAGES_GENERATIONS)
    assert sent(Drawing().request(asked))["response_format"] == form


@pytest.mark.parametrize(("abridged", "wish"), [(False, PicturesWanted), (True, WholeBodyNeeded)])
def test_pictures_have_to_be_at_hand(abridged: bool, wish: type[Exception]) -> None:
    asked = call({"messages": [{"role": "user", "content": [words("x"), picture()]}]})
    asked.pictures_at_hand, asked.abridged = False, abridged
    with pytest.raises(wish):
        Drawing().request(asked)


# --- and back -------------------------------------------------------------------------------------

REPLY = {
    "created": 1,
    "data": [{"b64_json": "QUFB"}, {"b64_json": "QkJC"}],
    "output_format": "webp",
    "usage": {
        "input_tokens": 8,
        "output_tokens": 32,
        "total_tokens": 40,
        "input_tokens_details": {"image_tokens": 3},
    },
}


def test_pictures_come_back_as_links_in_both_shapes() -> None:
    shelf = Shelf()
    translator = chat("x", shelf=shelf).translator
    assert translator is not None
    reply = json.loads(translator.whole(json.dumps(REPLY).encode()))
    assert shelf.kept == [("image/webp", "QUFB"), ("image/webp", "QkJC")]
    assert (reply["object"], reply["model"], reply["created"]) == (
        "chat.completion",
        "painter",
        1_700_000_000,
    )
    for index, choice in enumerate(reply["choices"]):
        url = f"https://gate.example/media/{index + 1}"
        assert (choice["index"], choice["finish_reason"]) == (index, "stop")
        assert choice["message"]["content"] == f"![image]({url})"
        assert choice["message"]["images"] == [{"type": "image_url", "image_url": {"url": url}, "index": 0}]
    assert reply["usage"]["prompt_tokens"] == 8
    assert reply["usage"]["completion_tokens"] == 32
    assert reply["usage"]["prompt_tokens_details"] == {"image_tokens": 3}


def test_where_nothing_is_kept_the_picture_itself_comes() -> None:
    translator = chat("x").translator
    assert translator is not None
    reply = json.loads(translator.whole(json.dumps(REPLY).encode()))
    assert reply["choices"][0]["message"]["images"][0]["image_url"]["url"] == "data:image/webp;base64,QUFB"


def stream() -> bytes:
    partial = {"type": "image_generation.partial_image", "b64_json": "UA==", "partial_image_index": 0}
    usage = {"input_tokens": 8, "output_tokens": 16, "total_tokens": 24}
    done: dict[str, Any] = {
        "type": "image_generation.completed",
        "b64_json": "QUFB",
        "output_format": "png",
        "usage": usage,
    }
    said: list[dict[str, Any]] = [partial, done, partial, done | {"b64_json": "QkJC"}]
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (str(one["type"]).encode(), json.dumps(one).encode()) for one in said
    )


def translated(cuts: list[int]) -> tuple[bytes, Shelf]:
    shelf = Shelf()
    translator = chat("x", stream=True, shelf=shelf).translator
    assert translator is not None
    data = stream()
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    splitter = LargeEventSplitter()
    out = b""
    for start, end in pairwise(places):
        out += b"".join(translator.event(event) for event in events(splitter.feed(data[start:end])))
    return out + translator.end(), shelf


@given(st.lists(st.integers(0, 10_000), max_size=8))
def test_a_stream_says_the_same_however_it_is_cut(cuts: list[int]) -> None:
    assert translated(cuts)[0] == translated([])[0]


def test_a_stream_is_a_role_a_picture_and_an_end_for_each_choice() -> None:
    out, shelf = translated([])
    assert [base64 for _, base64 in shelf.kept] == ["QUFB", "QkJC"]
    assert out.count(b": drawing\n\n") == 2
    assert out.endswith(DONE)
    chunks = [json.loads(data) for event in events(out) if (data := payload(event)) not in (None, b"[DONE]")]
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-r1"}
    seen = [
        (one["index"], one["delta"], one["finish_reason"]) for chunk in chunks for one in chunk["choices"]
    ]
    for index in (0, 1):
        role, shown, end = (entry[1:] for entry in seen if entry[0] == index)
        assert role == ({"role": "assistant", "content": ""}, None)
        assert shown[0]["images"][0]["image_url"]["url"] == f"https://gate.example/media/{index + 1}"
        assert end == ({}, "stop")
    assert chunks[-1]["usage"]["completion_tokens"] == 32
    assert chunks[-1]["usage"]["prompt_tokens"] == 8


def test_a_stream_that_brought_nothing_has_no_end() -> None:
    translator = chat("x", stream=True).translator
    assert translator is not None
    error = b'data: {"error":{"message":"no"}}\n\n'
    assert translator.event(error) == error
    assert translator.event(b"data: nonsense\n\n") == b""
    assert translator.end() == b""


def test_an_images_reply_gets_links_for_data_urls_and_keeps_the_rest() -> None:
    shelf = Shelf()
    asked = call({"prompt": "x"}, IMAGES_GENERATIONS, shelf)
    translator = Drawing().request(asked).translator
    assert translator is not None
    body = {
        "created": 5,
        "data": [{"url": URI, "revised_prompt": "y"}, {"url": "https://x"}],
        "size": "64x64",
    }
    reply = json.loads(translator.whole(json.dumps(body).encode()))
    assert reply["data"] == [
        {"url": "https://gate.example/media/1", "revised_prompt": "y"},
        {"url": "https://x"},
    ]
    assert (reply["created"], reply["size"]) == (5, "64x64")
    untouched = json.dumps(REPLY).encode()
    assert translator.whole(untouched) == untouched
