"""The grammar of forced calls; that llama.cpp obeys it is shown in test_llamacpp_live.py."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.dialects.call_grammar import CALLS, call_grammar
from headgate.dialects.json_schema import enforceable
from headgate.dialects.json_schema_rules import Budget
from tests.dialects.schemas import OBJECT_SCHEMAS, Schema

BOUND = st.none() | st.integers(-(10**15), 10**15) | st.integers(-1200, 1200)


def grammar(schema: Schema, *, many: bool = False) -> str:
    return call_grammar([("f", enforceable(schema, "p", Budget(), strict=True))], many=many)


def rules(text: str) -> dict[str, str]:
    """Name to body of every rule."""
    found = [(line.split(" ::= ")[0], line.split(" ::= ", 1)[1]) for line in text.splitlines() if line]
    assert len({name for name, _ in found}) == len(found), "a rule is defined twice"
    return dict(found)


def arguments_rule(text: str) -> str:
    found = re.search(r'arguments\\":" ws (\S+) "}"', rules(text)["call"])
    assert found
    return found[1]


def test_a_call_and_nothing_else() -> None:
    made = rules(grammar({}))
    assert made["root"] == "call"
    inside = r'"{\"name\":" ws "\"f\"" "," ws "\"arguments\":" ws object "}"'
    assert made["call"] == rf'"<tool_call>" "\n"? ({inside}) "\n"? "</tool_call>"'


def test_several_calls_where_they_are_wanted() -> None:
    assert rules(grammar({}, many=True))["root"] == f'call ("\\n" call){{0,{CALLS - 1}}}'


def test_every_function_is_an_alternative() -> None:
    text = call_grammar([("a", {}), ("b", {})], many=False)
    assert '"\\"a\\""' in rules(text)["call"]
    assert '"\\"b\\""' in rules(text)["call"]


def integer_pattern(low: int | None, high: int | None) -> re.Pattern[str]:
    """The rule for an integer as a regular expression: the notations differ in blanks and quotes."""
    bounds = {name: bound for name, bound in (("minimum", low), ("maximum", high)) if bound is not None}
    schema = {"type": "object", "properties": {"a": {"type": "integer", **bounds}}, "required": ["a"]}
    made = rules(grammar(schema))
    pair = next(body for body in made.values() if body.startswith('"\\"a\\""'))
    body = made.get(pair.split()[3], pair.split()[3])
    return re.compile(re.sub(r'[" ]', "", body))


@given(BOUND, BOUND, st.integers(-(10**15), 10**15) | st.integers(-1300, 1300))
def test_integers_between_bounds(low: int | None, high: int | None, number: int) -> None:
    if low is not None and high is not None:
        low, high = sorted((low, high))
    if low is None and high is None:
        return
    pattern = integer_pattern(low, high)
    near = [bound + step for bound in (low, high, 0) if bound is not None for step in (-1, 0, 1)]
    for value in (number, *near):
        inside = (low is None or low <= value) and (high is None or value <= high) and abs(value) <= 10**15
        assert bool(pattern.fullmatch(str(value))) is inside, (value, pattern.pattern)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (-5, -5), (-12, 345), (99, 100), (1, 1000), (-100, 99)])
def test_small_ranges_in_full(low: int, high: int) -> None:
    pattern = integer_pattern(low, high)
    matched = [number for number in range(-1500, 1500) if pattern.fullmatch(str(number))]
    assert matched == list(range(low, high + 1))
    assert not pattern.fullmatch("-0")
    assert not pattern.fullmatch("01")


@given(OBJECT_SCHEMAS)
def test_every_rule_that_is_used_is_there(schema: Schema) -> None:
    made = rules(grammar(schema))
    for body in made.values():
        bare = re.sub(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{[0-9,]*\}', " ", body)
        for name in re.findall(r"[a-z][a-z0-9-]*", bare):
            assert name in made, name


def test_recursion_is_a_rule_that_names_itself() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    text = grammar(schema)
    made = rules(text)
    assert len(made) < 40
    start = arguments_rule(text)
    assert start in made
