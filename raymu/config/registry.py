"""Settings of the branch `registry`: the revoked subjects that the runs of an organisation share."""

from pathlib import Path
from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from raymu.config.fields import STRICT, Name

_SQLITE = "sqlite:///"


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RegistryConfig:
    """A registry of revoked subjects. What any run of it revoked, no later training reads again."""

    url: Name
    """Database URL: sqlite:////folder/registry.sqlite or postgresql://host/name, without a password."""
    key_file: Name | None = None
    """File with the key of its hashes, 32 bytes in hex. By default beside a SQLite file, made on first use."""
    namespace: Name = "default"
    """Runs whose ids and owners mean the same share one. In another namespace the same id is another sample."""
    when_revoked: Literal["leave_out", "refuse"] = "leave_out"
    """What becomes of a table with revoked samples: they are left out and counted, or the table is refused."""

    @model_validator(mode="after")
    def _the_key_has_a_place(self) -> "RegistryConfig":
        if self.sqlite_file is None and self.key_file is None:
            raise ValueError("registry.key_file must be given for a database that is not a SQLite file")
        return self

    @property
    def sqlite_file(self) -> str | None:
        """The path of the SQLite file; None for another database."""
        return self.url.removeprefix(_SQLITE) if self.url.startswith(_SQLITE) else None

    @property
    def key_path(self) -> str:
        """The path of the key's file."""
        return self.key_file or f"{self.sqlite_file}.key"

    def relative_to(self, folder: Path) -> "RegistryConfig":
        """Return the same settings with relative paths taken from a folder."""
        file = self.sqlite_file
        return RegistryConfig(
            url=self.url if file is None else _SQLITE + _located(file, folder),
            key_file=None if self.key_file is None else _located(self.key_file, folder),
            namespace=self.namespace,
            when_revoked=self.when_revoked,
        )


def _located(path: str, folder: Path) -> str:
    return str((folder / Path(path).expanduser()).absolute())
