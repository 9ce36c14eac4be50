"""`headgate prices`: prices that override what comes along and what the configuration file says."""

from __future__ import annotations

from pathlib import Path

import click

from headgate.cli.books import books, changing, now_ms, show, told
from headgate.cli.options import data_option

COLUMNS = ("id", "model", "upstream", "price")


@click.group("prices", no_args_is_help=False)
def command() -> None:
    """Prices that override what comes along."""


@command.command("list")
@told
def list_(data: Path | None, as_json: bool) -> None:
    """List them."""
    from headgate.store import prices

    with books(data) as database, database.reading() as connection:
        show(prices.every_price(connection), COLUMNS, as_json=as_json)


@command.command("add")
@click.argument("model")
@click.option("--upstream", help="Only there.")
@click.option("--input", "input_", required=True, help="Dollars per million tokens read, such as 2.50.")
@click.option("--output", required=True, help="Dollars per million tokens written.")
@click.option("--cached-input", help="Dollars per million tokens read from a prompt cache.")
@data_option
def add(
    model: str, upstream: str | None, input_: str, output: str, cached_input: str | None, data: Path | None
) -> None:
    """Add a price for a model, by name or pattern, and tell its id."""
    import msgspec

    from headgate.core.settings_prices import PriceTerms
    from headgate.store import prices
    from headgate.store.records import Price

    said = {"input": input_, "output": output, "cached_input": cached_input}
    terms = {name: value for name, value in said.items() if value is not None}
    for name, value in terms.items():
        try:
            msgspec.convert({name: value}, PriceTerms)
        except msgspec.ValidationError:
            raise click.BadParameter(
                f"{value!r} is no amount in dollars such as 2.50", param_hint=f"--{name.replace('_', '-')}"
            ) from None
    with changing(data, "create", "price") as change:
        price = Price(id="", model=model, upstream=upstream or "", price=terms)
        made = prices.create_price(change.connection, price, now_ms=now_ms())
        change.object_id, change.detail = made.id, {"model": model, **terms}
    click.echo(made.id)


@command.command("delete")
@click.argument("price_id")
@data_option
def delete(price_id: str, data: Path | None) -> None:
    """Take a price away; what was charged with it stays."""
    from headgate.store import prices

    with changing(data, "delete", "price", price_id) as change:
        prices.delete_price(change.connection, price_id)
