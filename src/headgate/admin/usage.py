"""/admin/v1/usage, /requests and /audit, and GET /v1/usage: what was used, by whom, and who changed what.

Roll-ups answer at once for any period; single requests are asked of entries, within a bounded one.
"""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter
from sqlalchemy import Connection

from headgate.admin.caller import Caller
from headgate.admin.office import Office, now_ms
from headgate.core.errors import RecordRefused
from headgate.core.ports import Outcome
from headgate.store.audit import list_audit
from headgate.store.entries import Entries, Entry, Filter, Line, list_entries, sum_entries
from headgate.store.page import Page
from headgate.store.records import Audit
from headgate.store.reports import Dimension, Question, Report, Sums, report
from headgate.store.spans import Grain

DAY_MS = 86_400_000
DEFAULT_DAYS = 30

Form = Literal["json", "csv", "parquet"]
Which = Filter


class Paging(msgspec.Struct, frozen=True):
    """A page of a list."""

    limit: int = 100
    cursor: str | None = None


Dimensions = Annotated[list[Dimension] | None, QueryParameter(name="by")]


def _which(
    from_ms: FromQuery[int | None] = None,
    to_ms: FromQuery[int | None] = None,
    key: FromQuery[str | None] = None,
    team: FromQuery[str | None] = None,
    tag: FromQuery[str | None] = None,
    model: FromQuery[str | None] = None,
    target: FromQuery[str | None] = None,
    endpoint: FromQuery[str | None] = None,
) -> Which:
    """What of the books is asked for."""
    start_ms, end_ms = _period(from_ms, to_ms)
    return Filter(
        from_ms=start_ms,
        to_ms=end_ms,
        key=key,
        team=team,
        tag=tag,
        model=model,
        target=target,
        endpoint=endpoint,
    )


def _paging(limit: FromQuery[int] = 100, cursor: FromQuery[str | None] = None) -> Paging:
    """Where a list is to go on."""
    return Paging(limit, cursor)


ASKED = {"which": Provide(_which, sync_to_thread=False), "paging": Provide(_paging, sync_to_thread=False)}
"""Parameters that several places share."""


def usage_routes(office: Office) -> list[Router]:
    """Reports, requests, the audit log."""
    return [
        Router("/usage", route_handlers=_reports(office), tags=["usage"], dependencies=ASKED),
        Router("/requests", route_handlers=[_requests(office)], tags=["usage"], dependencies=ASKED),
        Router("/audit", route_handlers=[_audit(office)], tags=["audit"]),
    ]


def _reports(office: Office) -> list[HTTPRouteHandler]:
    @get("/", summary="Report usage")
    async def report_usage(
        caller: NamedDependency[Caller],
        which: NamedDependency[Which],
        paging: NamedDependency[Paging],
        group_by: Dimensions = None,
        grain: FromQuery[Grain | None] = None,
        order_by: FromQuery[str] = "price_nanodollars",
        form: FromQuery[Form] = "json",
    ) -> Response[Any]:
        wanted: dict[Dimension, str | None] = {
            "key": which.key,
            "team": caller.own_team(which.team),
            "tag": which.tag,
            "model": which.model,
            "target": which.target,
            "endpoint": which.endpoint,
        }
        question = Question(
            from_ms=which.from_ms,
            to_ms=which.to_ms,
            grain=grain,
            group_by=tuple(group_by or ()),
            where={name: value for name, value in wanted.items() if value is not None},
            order_by=order_by,
            limit=paging.limit,
            cursor=paging.cursor,
        )
        found = await office.read(lambda connection: report(connection, question, office.calendar))
        if form == "json":
            return Response(found)
        return _table(_report_rows(found), form, "usage", found.next_cursor)

    @get("/users", summary="Sum up usage by end user, in a bounded period")
    async def sum_users(
        caller: NamedDependency[Caller], which: NamedDependency[Which], contains: FromQuery[str | None] = None
    ) -> list[Line]:
        wanted = msgspec.structs.replace(which, team=caller.own_team(which.team), user_contains=contains)
        return await office.read(lambda connection: sum_entries(connection, wanted, group_by="user"))

    return [report_usage, sum_users]


def _requests(office: Office) -> HTTPRouteHandler:
    @get("/", summary="List requests, the newest first")
    async def list_requests(
        caller: NamedDependency[Caller],
        which: NamedDependency[Which],
        paging: NamedDependency[Paging],
        user: FromQuery[str | None] = None,
        request_id: FromQuery[str | None] = None,
        status: FromQuery[int | None] = None,
        outcome: FromQuery[str | None] = None,
        form: FromQuery[Form] = "json",
    ) -> Response[Any]:
        wanted = msgspec.structs.replace(
            which,
            team=caller.own_team(which.team),
            user=user,
            request_id=request_id,
            status=status,
            outcome=_outcome(outcome),
        )
        found: Entries = await office.read(
            lambda connection: list_entries(connection, wanted, limit=paging.limit, cursor=paging.cursor)
        )
        told = [_told(entry) for entry in found.items]
        if form == "json":
            return Response({"items": told, "next_cursor": found.next_cursor})
        return _table([_flat(one) for one in told], form, "requests", found.next_cursor)

    return list_requests


def _audit(office: Office) -> HTTPRouteHandler:
    @get("/", summary="List changes, the newest first")
    async def show_audit(
        caller: NamedDependency[Caller],
        kind: FromQuery[str] = "",
        object_id: FromQuery[str] = "",
        limit: FromQuery[int] = 100,
        cursor: FromQuery[str | None] = None,
    ) -> Page[Audit]:
        caller.may_see()

        def work(connection: Connection) -> Page[Audit]:
            return list_audit(connection, kind=kind, object_id=object_id, limit=limit, cursor=cursor)

        return await office.read(work)

    return show_audit


def own_usage_route(office: Office) -> Router:
    """GET /v1/usage: what the key that asks has used itself."""

    @get("/usage", summary="Report what this key has used")
    async def own_usage(
        caller: NamedDependency[Caller],
        which: NamedDependency[Which],
        paging: NamedDependency[Paging],
        group_by: Dimensions = None,
        grain: FromQuery[Grain | None] = None,
    ) -> Report:
        question = Question(
            from_ms=which.from_ms,
            to_ms=which.to_ms,
            grain=grain,
            group_by=tuple(group_by or ()),
            where={"key": caller.key_id},
            limit=paging.limit,
            cursor=paging.cursor,
        )
        return await office.read(lambda connection: report(connection, question, office.calendar))

    return Router("/v1", route_handlers=[own_usage], tags=["usage"], dependencies=ASKED)


def _period(from_ms: int | None, to_ms: int | None) -> tuple[int, int]:
    end_ms = now_ms() + 1 if to_ms is None else to_ms
    start_ms = end_ms - DEFAULT_DAYS * DAY_MS if from_ms is None else from_ms
    if start_ms >= end_ms:
        raise RecordRefused("from_ms: expected a time before to_ms")
    return start_ms, end_ms


def _outcome(word: str | None) -> Outcome | None:
    if word is None:
        return None
    try:
        return Outcome[word.upper()]
    except KeyError:
        known = ", ".join(one.name.lower() for one in Outcome)
        raise RecordRefused(f"outcome: expected one of {known}") from None


def _told(entry: Entry) -> dict[str, Any]:
    """An entry in words: outcome and source by name."""
    told: dict[str, Any] = msgspec.to_builtins(entry)
    told["outcome"] = entry.outcome.name.lower()
    counts = {name: getattr(entry.usage, name) for name in entry.usage.__struct_fields__ if name != "source"}
    told["usage"] = {name: count for name, count in counts.items() if count}
    told["usage"]["source"] = entry.usage.source.name.lower()
    return told


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    usage = told.pop("usage")
    told["tags"] = " ".join(told["tags"])
    names = ("source", "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
    return told | {name: usage.get(name, 0) for name in names}


def _report_rows(found: Report) -> list[dict[str, Any]]:
    names = Sums.__struct_fields__
    return [
        {"bucket_ms": row.bucket_ms, **row.names, **{name: getattr(row.sums, name) for name in names}}
        for row in found.rows
    ]


def _table(rows: list[dict[str, Any]], form: Form, name: str, cursor: str | None) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}.{form}"'}
    if cursor is not None:
        headers["x-next-cursor"] = cursor
    if form == "csv":
        return Response(_csv(rows), media_type="text/csv", headers=headers)
    return Response(_parquet(rows), media_type="application/vnd.apache.parquet", headers=headers)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return out.getvalue().encode()


def _harmless(value: Any) -> Any:
    """A text that no spreadsheet takes for a formula: end users choose their names."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise RecordRefused("form: parquet needs another library: pip install 'headgate[parquet]'") from None
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()
