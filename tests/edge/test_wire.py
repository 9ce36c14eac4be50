"""The pure rules of a head, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.edge.wire import (
    SINGLE_HEADERS,
    STATUS_LINES,
    chunk,
    framing,
    head_fault,
    size_fault,
    soft_fault,
    split_target,
    status_line,
)

Lines = list[tuple[bytes, bytes]]


def fault_status(version: str, lines: Lines) -> int | None:
    fault = head_fault(version, dict(lines), lines)
    return fault.status if fault is not None else None


@pytest.mark.parametrize(
    ("version", "lines", "status"),
    [
        ("1.1", [(b"host", b"a")], None),
        ("1.1", [(b"host", b"a"), (b"x", b"1"), (b"x", b"2")], None),
        ("1.1", [(b"host", b"a"), (b"transfer-encoding", b"chunked")], None),
        ("1.1", [(b"host", b"a"), (b"transfer-encoding", b" Chunked ")], None),
        ("1.0", [], None),
        ("1.0", [(b"x", b"1"), (b"x", b"2")], None),
        ("1.1", [], 400),
        ("1.1", [(b"x", b"1"), (b"x", b"2")], 400),
        ("1.0", [(b"transfer-encoding", b"chunked")], 400),
        ("1.1", [(b"host", b"a"), (b"transfer-encoding", b"gzip")], 501),
        ("1.1", [(b"host", b"a"), (b"transfer-encoding", b"gzip, chunked")], 501),
        ("0.9", [(b"host", b"a")], 505),
        ("2.0", [(b"host", b"a")], 505),
    ],
)
def test_heads(version: str, lines: Lines, status: int | None) -> None:
    assert fault_status(version, lines) == status


@pytest.mark.parametrize("name", sorted(SINGLE_HEADERS))
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_headers_that_decide_may_stand_once(name: bytes, version: str) -> None:
    lines = [(b"x", b"0"), (name, b"a"), (b"x", b"1"), (name, b"b")]
    if name != b"host":
        lines.append((b"host", b"a"))
    assert fault_status(version, lines) == 400


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([(b"host", b"a")], None),
        ([(b"expect", b"100-Continue")], None),
        ([(b"content-encoding", b"GZIP")], None),
        ([(b"content-encoding", b"identity")], None),
        ([(b"expect", b"200-ok")], 417),
        ([(b"content-encoding", b"br")], 415),
        ([(b"content-encoding", b"gzip, gzip")], 415),
    ],
)
def test_what_can_be_negotiated(lines: Lines, status: int | None) -> None:
    fault = soft_fault(dict(lines))
    assert (fault.status if fault is not None else None) == status


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/v1/models", b"/v1/models", b""),
        (b"/v1/models?a=b?c", b"/v1/models", b"a=b?c"),
        (b"//v1/models", b"//v1/models", b""),
        (b"/", b"/", b""),
        (b"/?/x", b"/", b"/x"),
        (b"*", b"*", b""),
        (b"http://h/v1/models?a", b"/v1/models", b"a"),
        (b"https://h:443/v1/models", b"/v1/models", b""),
        (b"http://user:pass@h/x", b"/x", b""),
        (b"http://h", b"/", b""),
        (b"http://h?x=/v1/models", b"/", b"x=/v1/models"),
        (b"http://h#/v1/models", b"/#/v1/models", b""),
        (b"http:///v1/models", b"/v1/models", b""),
        (b"http://h//v1/models", b"//v1/models", b""),
        (b"x://h/a://b/v1/models", b"/a://b/v1/models", b""),
        (b"h:443", b"h:443", b""),
    ],
)
def test_targets(target: bytes, path: bytes, query: bytes) -> None:
    assert split_target(target) == (path, query)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_an_origin_form_target_is_cut_at_its_first_question_mark(path: bytes, query: bytes) -> None:
    path = b"/" + path.replace(b"?", b"")
    assert split_target(path + b"?" + query) == (path, query)


def test_chunks() -> None:
    assert chunk(b"a") == b"1\r\na\r\n"
    assert chunk(b"x" * 300) == b"12c\r\n" + b"x" * 300 + b"\r\n"


def test_status_lines() -> None:
    assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert status_line(299) == b"HTTP/1.1 299 Unknown\r\n"
    assert all(line.endswith(b"\r\n") and line.count(b"\r\n") == 1 for line in STATUS_LINES.values())


def test_size() -> None:
    lines = [(b"ab", b"cd")]
    assert size_fault(b"/", lines, 5, 1) is None
    for fault in (
        size_fault(b"/", lines, 4, 1),
        size_fault(b"/", lines, 5, 0),
        size_fault(b"/x", lines, 5, 1),
    ):
        assert fault is not None
        assert fault.status == 431


def test_framing_repeats_what_tells_where_the_body_ends() -> None:
    assert framing({b"host": b"a", b"x": b"y"}) == b"POST / HTTP/1.1\r\n\r\n"
    assert framing({b"content-length": b"3", b"x": b"y"}) == b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n"
    assert (
        framing({b"transfer-encoding": b"chunked"})
        == b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    )
