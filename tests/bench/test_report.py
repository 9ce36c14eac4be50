"""The report says what was met, missed, void and failed, and rewrites only its own part of a document."""

import json
from pathlib import Path

import pytest

from bench.measures import Row, Target
from bench.ratios import Spread
from bench.report import BEGIN, END, as_json, markdown, text, update_document, verdict

FAST = Target(0.6, at_least=True)
LEAN = Target(150, at_least=False)


def row(value: Spread | str | None, target: Target | None = FAST, void: str = "") -> Row:
    cells: dict[str, Spread | str] = {"nginx": Spread(1, 1, 1)}
    if value is not None:
        cells["headgate"] = value
    return Row("requests/s", "of nginx", target=target, cells=cells, void=void)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (row(Spread(0.65, 0.5, 0.7)), "met"),
        (row(Spread(0.6, 0.5, 0.7)), "met"),
        (row(Spread(0.59, 0.5, 0.7)), "missed"),
        (row(Spread(149, 100, 200), LEAN), "met"),
        (row(Spread(151, 100, 200), LEAN), "missed"),
        (row("did not start"), "failed"),
        (row(Spread(0.65, 0.5, 0.7), void="the load generator was too slow"), "VOID"),
        (row(Spread(0.65, 0.5, 0.7), target=None), ""),
        (row(None), ""),
    ],
)
def test_verdict_goes_by_the_median(measured: Row, expected: str) -> None:
    assert verdict(measured) == expected


def test_markdown_has_a_column_for_everyone_and_a_line_for_what_failed() -> None:
    table = markdown([row("died | of\nsomething")], ["nginx", "headgate"], "a machine", "2026-11-22")
    lines = table.splitlines()
    assert lines[2] == "| measure | unit | target | nginx | headgate | Headgate |"
    assert lines[4] == "| requests/s | of nginx | >= 0.6 | 1.00 (1.00-1.00) | failed | failed |"
    assert lines[-1] == "Failed, headgate, requests/s: died / of something"


def test_void_is_shouted_in_every_form() -> None:
    void = row(Spread(0.65, 0.5, 0.7), void="the load generator was too slow")
    assert "VOID: the load generator was too slow" in text([void], ["nginx", "headgate"])
    assert "| VOID |" in markdown([void], ["nginx", "headgate"], "a machine", "2026-11-22")


def test_json_keeps_each_round() -> None:
    kept = row(Spread(0.65, 0.5, 0.7))
    kept.absolute = {"nginx": [20000.0, 21000.0]}
    result = json.loads(as_json([kept], "a machine", "2026-11-22"))
    assert result["rows"][0]["absolute"] == {"nginx": [20000.0, 21000.0]}


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    update_document(document, "new")
    update_document(document, "newer")
    assert document.read_text() == f"# Before\n{BEGIN}\nnewer\n{END}\nafter\n"


@pytest.mark.parametrize("content", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_document_without_its_markers_is_left_alone(tmp_path: Path, content: str) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(content)
    with pytest.raises(ValueError, match=r"benchmarks\.md"):
        update_document(document, "new")
    assert document.read_text() == content


def test_the_project_document_has_the_markers() -> None:
    document = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    assert document.count(BEGIN) == document.count(END) == 1
