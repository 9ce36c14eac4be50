"""The operator's API of a real gate: who may do what, what changes at once, what it tells and refuses."""

from __future__ import annotations

import csv
import http.client
import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow.parquet
import pytest

from tests.conftest import unused_port
from tests.gates import RunningGate, open_gate
from tests.models.bigram import write_bigram

Json = dict[str, Any]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGate]:
    model = write_bigram(tmp_path_factory.mktemp("model") / "talker.gguf", "Good day.")
    toml = f"""
        [[engine]]
        name = "talker"
        model = "{model}"
        [[upstream]]
        name = "elsewhere"
        base_url = "http://127.0.0.1:{unused_port()}/v1"
        api_key = {{ env = "ELSEWHERE_KEY" }}
        models = ["other"]
    """
    with open_gate(
        tmp_path_factory.mktemp("gate"), toml, environment={"ELSEWHERE_KEY": "sk-very-secret-0123"}
    ) as running:
        yield running


class Person:
    """Somebody with a key."""

    def __init__(self, gate: RunningGate, key: str) -> None:
        self._port = gate.port
        self.key = key

    def raw(
        self, method: str, path: str, body: Any = None, **query: Any
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        where = path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        connection.request(method, where, data, headers)
        reply = connection.getresponse()
        found = reply.read()
        connection.close()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, found

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        status, _, data = self.raw(method, f"/admin/v1{path}", body, **query)
        return status, json.loads(data) if data else None

    def good(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        status, reply = self.ask(method, path, body, **query)
        assert status < 300, reply
        return reply

    def refused(self, status: int, method: str, path: str, body: Any = None, **query: Any) -> Json:
        found, reply = self.ask(method, path, body, **query)
        assert found == status, reply
        assert set(reply["error"]) == {"message", "type", "param", "code"}
        return dict(reply["error"])

    def chat(self, model: str = "talker") -> tuple[int, Json]:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "user": "=ada"}
        status, _, data = self.raw("POST", "/v1/chat/completions", body)
        return status, json.loads(data)


@pytest.fixture(scope="module")
def operator(gate: RunningGate) -> Person:
    return Person(gate, gate.key)


@pytest.fixture
def person(gate: RunningGate, operator: Person) -> Callable[..., tuple[Person, str]]:
    """`person(**key)` makes a key and returns who has it, and its id."""

    def make(**key: Any) -> tuple[Person, str]:
        made = operator.good("POST", "/keys", {"name": "somebody"} | key)
        return Person(gate, made["secret"]), str(made["key"]["id"])

    return make


def team(operator: Person, name: str, **more: Any) -> str:
    return str(operator.good("POST", "/teams", {"name": name} | more)["id"])


# --- keys -----------------------------------------------------------------------------------------


def test_a_key_opens_at_once_and_closes_at_once(operator: Person, person: Any) -> None:
    holder, key_id = person()
    assert holder.key.startswith("sk-hg-")
    assert holder.chat()[0] == 200
    operator.good("PATCH", f"/keys/{key_id}", {"disabled": True})
    assert holder.chat()[0] == 401
    operator.good("PATCH", f"/keys/{key_id}", {"disabled": False})
    assert holder.chat()[0] == 200
    operator.good("DELETE", f"/keys/{key_id}")
    assert holder.chat()[0] == 401
    assert operator.refused(404, "GET", f"/keys/{key_id}")["message"] == "There is no such key."


def test_a_secret_is_shown_once(operator: Person, person: Any) -> None:
    holder, key_id = person(name="shown once")
    status, _, data = operator.raw("GET", "/admin/v1/keys", search="shown once")
    assert status == 200
    assert holder.key.encode() not in data
    assert json.loads(data)["items"][0]["id"] == key_id
    assert holder.key not in json.dumps(operator.good("GET", "/audit"))


def test_an_imported_key_goes_on_working(gate: RunningGate, operator: Person) -> None:
    secret = "sk-from-elsewhere-0123456789"
    made = operator.good("POST", "/keys", {"name": "imported", "secret": secret})
    assert made["secret"] == secret
    assert Person(gate, secret).chat()[0] == 200
    assert (
        operator.refused(400, "POST", "/keys", {"name": "again", "secret": secret})["type"]
        == "invalid_request_error"
    )


def test_a_rotated_key_has_a_grace(gate: RunningGate, operator: Person, person: Any) -> None:
    holder, key_id = person()
    second = operator.good("POST", f"/keys/{key_id}/rotate", {"grace_ms": 3_600_000})["secret"]
    assert holder.chat()[0] == Person(gate, second).chat()[0] == 200
    third = operator.good("POST", f"/keys/{key_id}/rotate", {})["secret"]
    assert [Person(gate, key).chat()[0] for key in (holder.key, second, third)] == [401, 401, 200]


def test_a_key_is_held_to_its_models_and_endpoints(person: Any) -> None:
    holder, _ = person(models=["oth*"])
    status, reply = holder.chat()
    assert (status, reply["error"]["code"]) == (403, "model_not_found")
    holder, _ = person(scopes=["embeddings"])
    status, reply = holder.chat()
    assert (status, reply["error"]["type"]) == (403, "permission_error")


def test_pages_of_keys_have_no_gaps(operator: Person, person: Any) -> None:
    made = {person(name=f"paged {number}")[1] for number in range(5)}
    found: set[str] = set()
    cursor = None
    while True:
        page = operator.good(
            "GET", "/keys", search="paged", limit=2, **({"cursor": cursor} if cursor else {})
        )
        found |= {key["id"] for key in page["items"]}
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == made


# --- roles ----------------------------------------------------------------------------------------


def test_a_holder_sees_only_itself(operator: Person, person: Any) -> None:
    holder, key_id = person()
    assert holder.chat()[0] == 200
    assert holder.good("GET", "/me")["role"] == "holder"
    assert holder.good("GET", f"/keys/{key_id}")["id"] == key_id
    _, other = person()
    for path in ("/keys", f"/keys/{other}", "/teams", "/usage", "/requests", "/audit", "/prices", "/models"):
        assert holder.refused(403, "GET", path)["type"] == "permission_error"
    holder.refused(403, "POST", "/keys", {"name": "mine"})
    holder.refused(403, "PATCH", f"/keys/{key_id}", {"limits": {}})


def test_a_team_admin_rules_its_team_and_no_other(operator: Person, person: Any) -> None:
    red, blue = team(operator, "red"), team(operator, "blue")
    admin, _ = person(team_id=red, scopes=["admin"])
    me = admin.good("GET", "/me")
    assert (me["name"], me["role"], me["team_id"]) == ("somebody", "team_admin", red)
    mine = admin.good("POST", "/keys", {"name": "of red", "team_id": red})["key"]["id"]
    _, theirs = person(team_id=blue)
    admin.good("PATCH", f"/keys/{mine}", {"limits": {"requests_per_minute": 5}})
    admin.good("PUT", f"/budgets/key:{mine}", {"amount_nanodollars": 10})
    for method, path, body in (
        ("POST", "/keys", {"name": "x", "team_id": blue}),
        ("POST", "/keys", {"name": "x"}),
        ("POST", "/keys", {"name": "x", "team_id": red, "scopes": ["admin"]}),
        ("PATCH", f"/keys/{mine}", {"scopes": ["admin.read"]}),
        ("PATCH", f"/keys/{theirs}", {"disabled": True}),
        ("DELETE", f"/keys/{theirs}", None),
        ("PATCH", f"/teams/{red}", {"limits": {}}),
        ("PUT", f"/budgets/team:{red}", {"amount_nanodollars": 10}),
        ("POST", f"/balances/{red}/postings", {"amount_nanodollars": 10}),
        ("POST", "/prices", {"model": "x", "price": {"input": "1"}}),
        ("GET", f"/keys/{theirs}", None),
        ("GET", f"/balances/{blue}", None),
        ("GET", "/audit", None),
    ):
        admin.refused(403, method, path, body)
    assert {key["team_id"] for key in admin.good("GET", "/keys")["items"]} == {red}
    assert [one["id"] for one in admin.good("GET", "/teams")["items"]] == [red]
    admin.refused(403, "GET", "/keys", team=blue)


def test_a_viewer_sees_all_and_changes_nothing(person: Any) -> None:
    viewer, key_id = person(scopes=["admin.read"])
    for path in (
        "/keys",
        "/teams",
        "/usage",
        "/requests",
        "/audit",
        "/prices",
        "/models",
        "/upstreams",
        "/codes",
    ):
        viewer.good("GET", path)
    viewer.refused(403, "PATCH", f"/keys/{key_id}", {"name": "x"})
    viewer.refused(403, "POST", "/teams", {"name": "x"})


@pytest.mark.parametrize("key", ["", "sk-hg-wrong", "' OR 1=1 --", "x" * 5000])
def test_without_a_key_there_is_nothing(gate: RunningGate, key: str) -> None:
    stranger = Person(gate, key)
    assert stranger.refused(401, "GET", "/keys")["code"] == "invalid_api_key"


# --- limits and money -----------------------------------------------------------------------------


def test_a_teams_limit_holds_for_its_keys_together(operator: Person, person: Any) -> None:
    limited = team(operator, "limited", limits={"requests_per_minute": 2})
    people = [person(team_id=limited)[0] for _ in range(2)]
    assert [one.chat()[0] for one in people] == [200, 200]
    status, reply = people[0].chat()
    assert (status, reply["error"]["code"]) == (429, "rate_limit_exceeded")
    operator.good("PATCH", f"/teams/{limited}", {"limits": {}})
    assert people[0].chat()[0] == 200


def test_a_prepaid_team_spends_what_was_paid_in(operator: Person, person: Any) -> None:
    price = {"input": "1000", "output": "1000"}  # dollars for a million tokens
    made = operator.good("POST", "/prices", {"model": "talker", "price": price})
    try:
        paying = team(operator, "paying", prepaid=True)
        holder, _ = person(team_id=paying)
        status, reply = holder.chat()
        assert (status, reply["error"]["code"]) == (429, "insufficient_quota")
        (code,) = operator.good("POST", "/codes", {"amount_nanodollars": 100_000_000_000})["codes"]
        operator.good("POST", f"/balances/{paying}/redeem", {"code": code})
        operator.refused(400, "POST", f"/balances/{paying}/redeem", {"code": code})
        assert holder.chat()[0] == 200
        posting = operator.good(
            "POST", f"/balances/{paying}/postings", {"amount_nanodollars": 5, "reference": "i1"}
        )
        assert posting["kind"] == "credit"
        operator.refused(
            400, "POST", f"/balances/{paying}/postings", {"amount_nanodollars": 5, "reference": "i1"}
        )
    finally:
        operator.good("DELETE", f"/prices/{made['id']}")


def test_budgets_are_set_and_dropped(operator: Person, person: Any) -> None:
    _, key_id = person()
    operator.good("PUT", f"/budgets/key:{key_id}", {"amount_nanodollars": 7, "period": "day"})
    (found,) = operator.good("GET", "/budgets", account=f"key:{key_id}")
    assert (found["budget"]["amount_nanodollars"], found["budget"]["period"]) == (7, "day")
    operator.good("DELETE", f"/budgets/key:{key_id}/day")
    assert operator.good("GET", "/budgets", account=f"key:{key_id}") == []
    operator.refused(404, "DELETE", f"/budgets/key:{key_id}/day")


# --- what is told ---------------------------------------------------------------------------------


def settled(ask: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """The answer once the carrier has brought the journal so far; the test's time limit ends the wait."""
    found = ask()
    while not enough(found):
        found = ask()
    return found


def test_usage_is_told_to_its_holder_and_to_the_operator(operator: Person, person: Any) -> None:
    reporting = team(operator, "reporting")
    holder, key_id = person(team_id=reporting)
    for _ in range(3):
        assert holder.chat()[0] == 200

    def own() -> Json:
        status, _, data = holder.raw("GET", "/v1/usage", by="model")
        assert status == 200, data
        return dict(json.loads(data))

    told = settled(own, lambda found: found["rows"] and found["rows"][0]["sums"]["attempts"] == 3)
    assert told["rows"][0]["names"] == {"model": "talker"}
    rows = operator.good("GET", "/usage", by=["team", "endpoint"], team=reporting)["rows"]
    assert rows[0]["names"] == {"team": reporting, "endpoint": "chat.completions"}
    assert rows[0]["sums"] == told["rows"][0]["sums"]
    requests = operator.good("GET", "/requests", key=key_id, outcome="ok")["items"]
    assert len(requests) == 3
    assert requests[0]["usage"]["source"] == "reported"
    lines = operator.good("GET", "/usage/users", key=key_id)
    assert [(line["name"], line["sums"]["attempts"]) for line in lines] == [("=ada", 3)]


def test_tables_come_as_csv_and_parquet_that_no_spreadsheet_runs(operator: Person, person: Any) -> None:
    holder, key_id = person()
    holder.chat()
    settled(lambda: operator.good("GET", "/requests", key=key_id)["items"], bool)
    status, headers, data = operator.raw("GET", "/admin/v1/requests", key=key_id, form="csv")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    (row,) = csv.DictReader(io.StringIO(data.decode()))
    assert row["key"] == key_id
    assert row["user"] == "'=ada"
    status, _, data = operator.raw("GET", "/admin/v1/usage", by="key", key=key_id, form="parquet")
    assert status == 200
    (line,) = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    assert (line["key"], line["attempts"]) == (key_id, 1)


def test_the_configuration_is_shown_without_its_secrets(operator: Person) -> None:
    models = {model["name"]: model for model in operator.good("GET", "/models")}
    assert models["other"]["targets"] == [{"upstream": "elsewhere", "upstream_model": "other"}]
    upstreams = {one["name"]: one for one in operator.good("GET", "/upstreams")}
    assert upstreams["elsewhere"]["api_key"] is True
    assert "very-secret" not in json.dumps(upstreams)


def test_every_change_is_noted(operator: Person, person: Any) -> None:
    _, key_id = person(name="noted")
    operator.good("PATCH", f"/keys/{key_id}", {"owner": "ada"})
    changed, made = operator.good("GET", "/audit", object_id=key_id)["items"]
    assert (made["action"], changed["action"], changed["detail"]) == ("create", "change", {"owner": "ada"})
    assert changed["actor"].startswith("operator")


# --- bad input ------------------------------------------------------------------------------------

NASTY = ["'; DROP TABLE keys; --", "%", "_" * 20, "\x00", "ａdmin", "a" * 100_000, "\r\nx-injected: 1", "💥"]


@pytest.mark.parametrize("text", NASTY)
def test_any_text_is_text(operator: Person, text: str) -> None:
    status, reply = operator.ask("GET", "/keys", search=text)
    assert status == 200 or (status == 431 and len(text) > 10_000)
    assert status != 200 or "\x00" in text or reply["items"] == []
    status, reply = operator.ask("POST", "/keys", {"name": text, "owner": text, "metadata": {"a": text}})
    assert status in (201, 400)
    if status == 201:
        assert operator.good("GET", f"/keys/{reply['key']['id']}")["owner"] == text.strip()
    for path in ("/keys/", "/teams/", "/balances/", "/prices/"):
        assert operator.ask("GET", path + quote(text, safe=""))[0] in (200, 400, 404, 405, 414, 431)
    assert operator.good("GET", "/keys")["items"]


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/keys", {"name": 5}, "name"),
        ("POST", "/keys", {"name": "x", "nonsense": 1}, "nonsense"),
        ("POST", "/keys", {"name": "x", "networks": ["not a network"]}, "networks"),
        ("POST", "/teams", {"name": "x", "limits": {"requests_per_minute": "many"}}, None),
        ("PUT", "/budgets/nobody", {"amount_nanodollars": 1}, "account"),
        ("POST", "/keys", b"{", None),
    ],
)
def test_a_wrong_field_is_named(
    operator: Person, method: str, path: str, body: Any, param: str | None
) -> None:
    error = operator.refused(400, method, path, body)
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param


def test_other_places_and_methods_are_refused_in_our_shape(operator: Person) -> None:
    assert operator.refused(404, "GET", "/nowhere")["code"] == "unknown_url"
    operator.refused(405, "PUT", "/keys")


def test_there_is_a_document_to_generate_a_client_from(operator: Person) -> None:
    document = operator.good("GET", "/schema/openapi.json")
    assert document["openapi"].startswith("3.")
    assert {"/admin/v1/keys", "/admin/v1/teams", "/admin/v1/usage", "/v1/usage"} <= set(document["paths"])
    operations = [
        entry for path in document["paths"].values() for entry in path.values() if "operationId" in entry
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
