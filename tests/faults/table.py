"""The table of faults: what each is, where it is met, and how a request that meets it may end.

`docs/reliability.md` shows it with what a run has counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.faults import misbehave as wrong

ANSWERED = "answered"
"""Whole, in order, from one upstream."""
CUT = "cut"
"""A correct beginning, then an error event: content had gone out, and nobody is to say it again."""

Place = Literal["plain", "closed", "expired", "other name", "unknown authority", "changing", "slow name"]
"""Which of the misbehaving addresses: a plain one that follows the script, or one that is wrong itself."""


@dataclass(frozen=True)
class Fault:
    """One row."""

    name: str
    words: str
    script: wrong.Misbehaviour = wrong.answer
    whole: frozenset[str] = frozenset({ANSWERED})
    """How a request for a whole reply may end; any other end fails the run."""
    stream: frozenset[str] = frozenset({ANSWERED})
    place: Place = "plain"
    opens: bool = True
    """Enough of it opens the target's breaker, or gives it a rest: it is not asked every time."""


def _cut(name: str, words: str, script: wrong.Misbehaviour) -> Fault:
    # Once its breaker is open the others answer.
    return Fault(name, words, script, stream=frozenset({ANSWERED, CUT}))


def _told(code: int, words: str, *, client_sees: int | None = None) -> Fault:
    ends = frozenset({str(client_sees or code)})
    return Fault(f"status {code}", words, wrong.status(code), whole=ends, stream=ends, opens=False)


FAULTS: tuple[Fault, ...] = (
    Fault("well", "no fault at all", opens=False),
    Fault("scattered", "well, in pieces of 37 bytes, with CR LF", wrong.scattered, opens=False),
    Fault("no done", "the stream ends without `[DONE]`, after its finish reason", wrong.no_done, opens=False),
    Fault("malformed line", "malformed events among good ones", wrong.malformed_line, opens=False),
    # connections
    Fault("refuses", "the connection is refused", place="closed"),
    Fault("slow name", "its name is looked up for ever", place="slow name"),
    Fault("expired", "its certificate has expired", place="expired"),
    Fault("wrong name", "its certificate is for another name", place="other name"),
    Fault("unknown authority", "its certificate is signed by nobody we trust", place="unknown authority"),
    Fault("certificate change", "another certificate with every connection, each third one bad",
          place="changing", opens=False),
    Fault("silence", "accepts, and says nothing", wrong.silence),
    Fault("close before head", "closes instead of answering", wrong.close_before_head),
    Fault("reset before head", "resets instead of answering", wrong.reset_before_head),
    Fault("reset inside head", "resets inside the headers", wrong.reset_inside_head),
    Fault("reset after head", "resets after the headers", wrong.reset_after_head),
    Fault("silence after head", "nothing after the headers", wrong.silence_after_head),
    _cut("reset mid chunk", "resets in mid-answer, inside a chunk", wrong.reset_mid_chunk),
    _cut("reset mid event", "resets in mid-answer, inside an event", wrong.reset_mid_event),
    _cut("ends mid answer", "ends the body properly in mid-answer", wrong.end_mid_answer),
    _cut("silence mid answer", "falls silent in mid-answer", wrong.silence_mid_answer),
    _cut("error mid answer", "an error object in mid-answer", wrong.error_mid_answer),
    # framing and content
    Fault("length too long", "announces more than it sends", wrong.length_too_long,
          stream=frozenset({ANSWERED, CUT})),
    Fault("length too short", "announces less than it sends", wrong.length_too_short),
    Fault("broken framing", "a chunk whose size is no number", wrong.broken_framing),
    Fault("never ends", "comments or blanks for ever", wrong.never_ends, whole=frozenset({ANSWERED, "504"})),
    Fault("drip", "one byte a second", wrong.drip),
    Fault("garbage", "not HTTP", wrong.garbage),
    Fault("HTML", "a login page with status 200", wrong.html_with_200),
    Fault("HTML as promised", "the same, called JSON or a stream", wrong.html_as_promised),
    Fault("JSON cut short", "half an object; a stream without an event", wrong.json_cut_short),
    Fault("huge head", "a mebibyte of headers", wrong.huge_head),
    Fault("gzip", "packed though not asked to", wrong.gzip_unasked),
    # statuses
    _told(400, "the client's own mistake"),
    Fault("status 401", "the operator's key is refused", wrong.status(401)),
    Fault("status 403", "the operator's key may not", wrong.status(403)),
    Fault("status 404", "wrong address or model there", wrong.status(404)),
    Fault("status 408", "the upstream waited too long", wrong.status(408)),
    Fault("status 409", "a conflict", wrong.status(409), opens=False),
    _told(413, "the client's own mistake"),
    _told(422, "the client's own mistake; OpenAI calls it 400", client_sees=400),
    Fault("status 429, seconds", "too many requests, `retry-after` in seconds",
          wrong.status(429, "retry-after: 1")),
    Fault("status 429, date", "too many requests, `retry-after` as a date", wrong.too_many_until_a_date),
    Fault("status 500", "an error of its own", wrong.status(500)),
    Fault("status 502", "a proxy without a server", wrong.status(502)),
    Fault("status 503", "not ready", wrong.status(503)),
    Fault("status 504", "a proxy that gave up", wrong.status(504)),
    Fault("status 529", "overloaded", wrong.status(529)),
)  # fmt: skip

BY_NAME = {fault.name: fault for fault in FAULTS}


def model_of(fault: Fault) -> str:
    """The model whose first target meets the fault; the other two are well."""
    return "meets-" + fault.name.replace(" ", "-").replace(",", "")


def unbroken_model_of(fault: Fault) -> str:
    """The same, where another target goes on with an answer that was begun."""
    return "goes-on-" + model_of(fault)


MIX = "mix"
"""A model with three targets of one rank, the first of which meets whatever a request asks for."""
