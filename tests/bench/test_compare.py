"""The comparison with LiteLLM: sound requests, no difference without a reason, the page has the result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.compare.__main__ import OURS, RESULT, explain
from bench.compare.asked import COUNT, requests
from bench.compare.classes import CLASSES, REFUSALS
from bench.compare.ours import sent
from tests.structure.pages import read, section

Json = dict[str, Any]
WHYS = {c.name: c.why for classes in CLASSES.values() for c in classes} | dict(REFUSALS.values())


def test_the_requests_are_the_same_every_time_and_pass_the_door() -> None:
    asked = requests()
    assert (len(asked), asked) == (COUNT, requests())
    made = sent(asked, OURS)
    assert all(one.keys() in ({"body"}, {"error"}) for answers in made.values() for one in answers)
    kinds = {message["role"] for request in asked for message in request["messages"]}
    assert kinds == {"system", "developer", "user", "assistant", "tool"}


def test_a_difference_that_nobody_explains_is_found() -> None:
    ours = {"body": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}}
    theirs = {
        "body": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "max_tokens": 5}
    }
    assert explain("anthropic", {"max_tokens": 5}, ours, theirs) == (["text as a string"], None)
    theirs["body"]["max_tokens"] = 6
    assert explain("anthropic", {"max_tokens": 5}, ours, theirs)[1] is not None
    assert explain("anthropic", {}, ours, theirs)[1] is None  # nobody had set a limit
    assert explain("anthropic", {}, ours, {"error": "x"})[1] is not None
    assert explain("gemini", {}, {"error": "something else"}, theirs)[1] is not None


@pytest.mark.parametrize("dialect", CLASSES)
def test_the_page_has_every_class_with_its_count_and_reason(dialect: str) -> None:
    found = json.loads(RESULT.read_text())[dialect]
    assert found["requests"] == COUNT
    words = section(read("dialects.md"), "Compared with LiteLLM")
    for name, count in found["differ"].items():
        assert f"| {dialect} | {name} | {count} | {WHYS[name]} |" in words
