"""Teams: names are taken once, changes are whole, a closed team is not forgotten."""

from __future__ import annotations

import pytest

from headgate.core.errors import RecordMissing, RecordRefused
from headgate.core.limit import Limits
from headgate.core.money import Ratio
from headgate.store.database import Database
from headgate.store.records import Team
from headgate.store.teams import change_team, create_team, delete_team, get_team, list_teams

NOW = 1_800_000_000_000


def test_a_team_is_kept_as_it_was_made(database: Database) -> None:
    wanted = Team(
        id="ignored",
        name="  Mühle ",
        prepaid=True,
        limits=Limits(tokens_per_day=5, concurrent_requests=2),
        model_limits={"gpt-*": Limits(requests_per_day=9)},
        multipliers={"*": Ratio(5, 4)},
        metadata={"cost centre": "4711"},
    )
    with database.writing() as connection:
        made = create_team(connection, wanted, now_ms=NOW)
    with database.reading() as connection:
        found = get_team(connection, made.id)
    assert found == made
    assert (found.name, found.created_ms, found.multipliers) == ("Mühle", NOW, {"*": Ratio(5, 4)})
    assert found.model_limits["gpt-*"].requests_per_day == 9
    assert found.id != "ignored"


def test_a_name_is_taken_once_until_it_is_free(database: Database) -> None:
    with database.writing() as connection:
        first = create_team(connection, Team(id="", name="caf\u00e9"), now_ms=NOW)
        with pytest.raises(RecordRefused, match="another team"):
            create_team(
                connection, Team(id="", name="cafe\u0301"), now_ms=NOW
            )  # the same letters, taken apart
        second = create_team(connection, Team(id="", name="bar"), now_ms=NOW)
        with pytest.raises(RecordRefused, match="another team"):
            change_team(connection, second.id, name="caf\u00e9")
        delete_team(connection, first.id, now_ms=NOW)
        assert change_team(connection, second.id, name="caf\u00e9").name == "café"


def test_a_closed_team_is_gone_from_lists(database: Database) -> None:
    with database.writing() as connection:
        team = create_team(connection, Team(id="", name="gone"), now_ms=NOW)
        stays = create_team(connection, Team(id="", name="stays"), now_ms=NOW)
        delete_team(connection, team.id, now_ms=NOW)
        with pytest.raises(RecordMissing):
            get_team(connection, team.id)
        with pytest.raises(RecordMissing):
            change_team(connection, team.id, name="back")
        assert [found.id for found in list_teams(connection).items] == [stays.id]
        assert list_teams(connection, search="STAY").items == (stays,)
        with pytest.raises(RecordRefused):
            change_team(connection, stays.id, deleted_ms=1)
