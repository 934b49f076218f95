"""`raymu token create`, `list` and `revoke`."""

from pathlib import Path

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.json_document import emit
from raymu.cli.options import json_option, show
from raymu.cli.parameter_types import FILE

_ROLES = ("requester", "predictor", "auditor", "operator")  # as in raymu/web/tokens.py
_file_option = click.option(
    "--tokens", metavar="FILE", type=FILE, help="The file of tokens, instead of the user's own."
)


@click.group("token")
def command() -> None:
    """Make and revoke tokens of callers."""


@command.command("create", cls=RaymuCommand, example="raymu token create crm --role requester")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What the caller may do.")
@_file_option
@json_option
def create(name: str, role: str, tokens: str | None, as_json: bool) -> None:
    """Make a token for a caller of `raymu serve`.

    It is shown this once: the file keeps its hash alone. A requester makes deletions and reads what was done for them. A
    predictor predicts. An auditor reads requests, receipts, status and metrics. An operator does everything.
    """
    from raymu.web.tokens import Role, Tokens

    text = Tokens(_path(tokens)).create(name, Role(role))
    facts = {"schema": "raymu.token", "name": name, "role": role, "token": text}
    show(as_json, facts, lambda screen: screen.print(text))


@command.command("list", cls=RaymuCommand, example="raymu token list")
@_file_option
@json_option
def list_tokens(tokens: str | None, as_json: bool) -> None:
    """Show the tokens.

    What only their callers have is not in the file.
    """
    from raymu.web.tokens import Tokens

    rows = [
        {
            "name": token.name,
            "role": str(token.role),
            "created_at": token.created_at.isoformat(),
            "revoked_at": token.revoked_at.isoformat() if token.revoked_at else None,
        }
        for token in Tokens(_path(tokens)).all()
    ]
    if as_json:
        emit("tokens", {"tokens": rows})
        return
    for row in rows or [{}]:
        ended = f", revoked {row['revoked_at']}" if row.get("revoked_at") else ""
        click.echo(f"{row['name']}: {row['role']}, made {row['created_at']}{ended}" if row else "no token was made yet")


@command.command("revoke", cls=RaymuCommand, example="raymu token revoke crm")
@click.argument("name")
@_file_option
@json_option
def revoke(name: str, tokens: str | None, as_json: bool) -> None:
    """End a token.

    The next call with it is refused.
    """
    from raymu.web.tokens import Tokens

    token = Tokens(_path(tokens)).revoke(name)
    facts = {"schema": "raymu.token_revoked", "name": token.name, "role": str(token.role)}
    show(as_json, facts, lambda screen: screen.print(f"{token.name} is revoked"))


def _path(tokens: str | None) -> Path:
    from raymu.web.tokens import tokens_path

    return Path(tokens) if tokens else tokens_path()
