"""The schema of a journal's database: nothing but the tables of raymu, exactly as raymu creates them.

A trigger, a view in the place of a table, a rule, a policy or another index could keep or change rows that the chain of
events does not show. So whoever reads the journal as evidence, or extends it, looks at the schema first.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import sqlalchemy as sql

from raymu.store.journal.tables import LATER_TABLES, TABLES, WholeNumber

_SQLITE_OBJECTS = "SELECT type, name, tbl_name, sql FROM sqlite_master"

_POSTGRESQL_COLUMNS = """
    SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.atthasdef OR a.attgenerated <> '' OR a.attidentity <> ''
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.oid = to_regclass(%(table)s) ORDER BY a.attnum"""
_POSTGRESQL_EXTRAS = """
    SELECT 'trigger', tgname FROM pg_trigger WHERE tgrelid = to_regclass(%(table)s) AND NOT tgisinternal
    UNION ALL SELECT 'rule', rulename FROM pg_rewrite WHERE ev_class = to_regclass(%(table)s)
    UNION ALL SELECT 'policy', polname FROM pg_policy WHERE polrelid = to_regclass(%(table)s)
    UNION ALL SELECT 'constraint', conname FROM pg_constraint
        WHERE conrelid = to_regclass(%(table)s) AND contype NOT IN ('p', 'n')
    UNION ALL SELECT 'heir', inhrelid::regclass::name FROM pg_inherits WHERE inhparent = to_regclass(%(table)s)
    UNION ALL SELECT 'index', relname FROM pg_class JOIN pg_index ON indexrelid = oid
        WHERE indrelid = to_regclass(%(table)s) AND NOT indisprimary AND relname <> ALL(%(indexes)s)
    UNION ALL SELECT 'row security', relname FROM pg_class WHERE oid = to_regclass(%(table)s) AND relrowsecurity"""


def sqlite_differences(connection: sql.Connection) -> Iterator[str]:
    """Yield a phrase for every object of a SQLite file that raymu did not create, or that differs or is missing."""
    actual = _sqlite_objects(connection)
    expected = _expected_sqlite_objects()
    for kind, name in sorted(actual.keys() - expected.keys()):
        yield f"a {kind} {name!r} that raymu does not create"
    absent = {table.name for table in LATER_TABLES if ("table", table.name) not in actual}
    for kind, name in sorted(expected.keys() - actual.keys()):
        if expected[kind, name][0] not in absent:
            yield f"no {kind} {name!r}"
    for kind, name in sorted(expected.keys() & actual.keys()):
        if actual[kind, name] != expected[kind, name]:
            yield f"another {kind} {name!r} than raymu creates"


def postgresql_differences(connection: sql.Connection) -> Iterator[str]:
    """Yield a phrase for every difference of raymu's tables in a PostgreSQL database, which may have other tables too."""
    for table in TABLES.sorted_tables:
        rows = connection.exec_driver_sql(_POSTGRESQL_COLUMNS, {"table": table.name}).all()
        if not rows and table in LATER_TABLES:
            continue
        if {row[1] for row in rows} != {"r"}:
            yield f"no table {table.name!r}" if not rows else f"another kind of relation in the place of {table.name!r}"
            continue
        columns = [tuple(row[2:]) for row in rows]
        if columns != _expected_postgresql_columns(table):
            yield f"another table {table.name!r} than raymu creates"
        indexes = [str(index.name) for index in table.indexes]
        extras = connection.exec_driver_sql(_POSTGRESQL_EXTRAS, {"table": table.name, "indexes": indexes}).all()
        for kind, name in sorted(tuple(row) for row in extras):
            yield f"a {kind} {name!r} of table {table.name!r} that raymu does not create"


def _sqlite_objects(connection: sql.Connection) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (row.type, row.name): (row.tbl_name, _canonical(row.sql)) for row in connection.exec_driver_sql(_SQLITE_OBJECTS)
    }


@cache
def _expected_sqlite_objects() -> dict[tuple[str, str], tuple[str, str]]:
    engine = sql.create_engine("sqlite://")
    with engine.connect() as connection:
        TABLES.create_all(connection)
        objects = _sqlite_objects(connection)
    engine.dispose()
    return objects


def _canonical(text: str | None) -> str:
    """Return a statement without white space and quotes of names, which differ between versions of SQLAlchemy."""
    return re.sub(r'[\s"]', "", text or "").casefold()


def _expected_postgresql_columns(table: sql.Table) -> list[tuple[Any, ...]]:
    types = {WholeNumber: "integer", sql.Text: "text", sql.String: "character varying"}
    return [(column.name, types[type(column.type)], not column.nullable, False) for column in table.columns]
