"""The line of every value, for any TOML that tomllib takes; and no failure for what it refuses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.toml_lines import Path, find_lines, line_of


def test_every_way_of_writing_a_path_is_found() -> None:
    text = '''# a comment = 1
top = 1
dotted."quoted.key".'lit' = """
two lines"""   # line 3

[table]
list = [
  1, [2,
  3], "]", # ]
  { a = 1, b = [ 5 ] },
]
[[entry]]
name = "first"
[entry.inner]
x = 2026-11-22 10:00:00
[[entry]]
  [[entry.deep]]
  y = \'\'\'
\'\'\'
  [[entry.deep]]
  z = "\\"#"
[table.more]
'''
    assert find_lines(text) == {
        ("top",): 2,
        ("dotted",): 3,
        ("dotted", "quoted.key"): 3,
        ("dotted", "quoted.key", "lit"): 3,
        ("table",): 6,
        ("table", "list"): 7,
        ("table", "list", 0): 8,
        ("table", "list", 1): 8,
        ("table", "list", 1, 0): 8,
        ("table", "list", 1, 1): 9,
        ("table", "list", 2): 9,
        ("table", "list", 3): 10,
        ("table", "list", 3, "a"): 10,
        ("table", "list", 3, "b"): 10,
        ("table", "list", 3, "b", 0): 10,
        ("entry",): 12,
        ("entry", 0): 12,
        ("entry", 0, "name"): 13,
        ("entry", 0, "inner"): 14,
        ("entry", 0, "inner", "x"): 15,
        ("entry", 1): 16,
        ("entry", 1, "deep"): 17,
        ("entry", 1, "deep", 0): 17,
        ("entry", 1, "deep", 0, "y"): 18,
        ("entry", 1, "deep", 1): 20,
        ("entry", 1, "deep", 1, "z"): 21,
        ("table", "more"): 22,
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a = """"quoted""""\nb = 1', 2),
        ("a = '''it''''\nb = 1", 2),
        ('a = """\\"""\n"""\nb = 1', 3),
        ('a = ""\nb = 1', 2),
        ("a = ''\r\n\r\nb = 1", 3),
        ('"a\\u0062" = 1\nb = 1', 2),
        ("a = 07:32:00 # ]\nb = [", 2),
        ("a = [[],{}, [[ ]\n]]\nb = 1", 3),
    ],
)
def test_strings_and_brackets_of_every_kind_are_passed(text: str, line: int) -> None:
    assert find_lines(text)[("b",)] == line


def test_the_nearest_line_stands_for_what_has_none() -> None:
    lines = {("a",): 3, ("a", 0): 4}
    assert line_of(lines, ("a", 0, "x", "y")) == 4
    assert line_of(lines, ("a", 1)) == 3
    assert line_of(lines, ("b",)) is None
    assert line_of(lines, ()) is None


def test_what_came_before_a_mistake_is_still_found() -> None:
    assert find_lines("a = 1\nb = [1, 2\nc == ???") == {("a",): 1, ("b",): 2, ("b", 0): 2, ("b", 1): 2}


def test_depth_ends_the_search_quietly() -> None:
    lines = find_lines("a = 1\nb = " + "[" * 100_000)
    assert lines[("a",)] == 1


# Small alphabets, so that keys meet again and tables grow into each other.
KEYS = st.sampled_from(["a", "b", "a.b", '"a b"', "'c'", '"\\u0061"', '"x\\\\"', "1"])
VALUES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from(
        [
            "1",
            "-0.5e3",
            "true",
            "1979-05-27T07:32:00Z",
            '""',
            '"#"',
            "'['",
            '"\\""',
            '"""a\n"b"""',
            "'''\n]'''",
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: "[ " + ",\n #]\n".join(parts) + "\n]"),
        st.lists(st.tuples(KEYS, inner), max_size=2).map(
            lambda pairs: "{" + ", ".join(f"{key} ={value}" for key, value in pairs) + "}"
        ),
    ),
    max_leaves=5,
)
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]} # = ["),
    KEYS.map(lambda key: f"[{key}]"),
    KEYS.map(lambda key: f"[[ {key} ]]"),
    st.sampled_from(["", "# [x]", "\t"]),
)
TEXTS = st.lists(LINES, max_size=8).map("\n".join)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from paths(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from paths(part, (*path, index))


@given(TEXTS)
def test_it_finds_exactly_what_tomllib_reads(text: str) -> None:
    lines = find_lines(text)
    try:
        document = tomllib.loads(text)
    except ValueError:
        return
    assert lines.keys() == set(paths(document))
    rows = text.split("\n")
    for path, line in lines.items():
        assert isinstance(path[-1], int) or written(path[-1]) & set(rows[line - 1]), (path, line)


def written(key: str) -> set[str]:
    """Characters of which one at least stands on a key's line, however the key is written."""
    return set(key) | {"\\"}


@given(st.dictionaries(st.text(min_size=1), st.lists(st.text(), max_size=3), max_size=5), st.data())
def test_it_finds_the_very_line(document: dict[str, list[str]], data: st.DataObject) -> None:
    rows: list[str] = []
    expected: dict[Path, int] = {}
    for key, strings in document.items():
        rows += [""] * data.draw(st.integers(0, 2))
        rows.append(f"{quoted(key)} = [")
        expected[(key,)] = len(rows)
        for index, string in enumerate(strings):
            rows += ["# ,"] * data.draw(st.integers(0, 1))
            rows.append(f"  {quoted(string)},")
            expected[(key, index)] = len(rows)
        rows.append("]")
    assert find_lines("\n".join(rows)) == expected


def quoted(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode().replace("\x7f", "\\u007f")


@given(st.one_of(st.text(), st.text(alphabet="ab=.[]{}\"'\\#,\n\r \t1é", max_size=60)))
def test_no_text_makes_it_fail(text: str) -> None:
    for path, line in find_lines(text).items():
        assert path
        assert 1 <= line <= text.count("\n") + 1
