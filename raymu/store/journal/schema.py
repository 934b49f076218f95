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
    WHERE c.oid IN (SELECT to_regclass(name) FROM unnest(%(tables)s::text[]) AS name) ORDER BY c.relname, a.attnum"""
_POSTGRESQL_EXTRAS = """
    SELECT DISTINCT name, kind, extra FROM unnest(%(tables)s::text[]) AS name, to_regclass(name) AS relation, LATERAL (
        SELECT 'trigger', tgname FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
        UNION ALL SELECT 'rule', rulename FROM pg_rewrite WHERE ev_class = relation
        UNION ALL SELECT 'policy', polname FROM pg_policy WHERE polrelid = relation
        UNION ALL SELECT 'constraint', conname FROM pg_constraint
            WHERE conrelid = relation AND contype NOT IN ('p', 'n')
        UNION ALL SELECT 'heir', inhrelid::regclass::name FROM pg_inherits WHERE inhparent = relation
        UNION ALL SELECT 'index', relname FROM pg_class JOIN pg_index ON indexrelid = oid
            WHERE indrelid = relation AND NOT indisprimary AND relname <> ALL(%(indexes)s)
        UNION ALL SELECT 'row security', relname FROM pg_class WHERE oid = relation AND relrowsecurity
    ) AS extras(kind, extra)"""


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
    """Yield a phrase for every difference of raymu's tables in a PostgreSQL database, which may have other tables too.

    It asks twice, for all tables together: a database may be far away.
    """
    tables = TABLES.sorted_tables
    names = [table.name for table in tables]
    indexes = [str(index.name) for table in tables for index in table.indexes]
    columns = connection.exec_driver_sql(_POSTGRESQL_COLUMNS, {"tables": names}).all()
    extras = connection.exec_driver_sql(_POSTGRESQL_EXTRAS, {"tables": names, "indexes": indexes}).all()
    for table in tables:
        rows = [row for row in columns if row[0] == table.name]
        if not rows and table in LATER_TABLES:
            continue
        if {row[1] for row in rows} != {"r"}:
            yield f"no table {table.name!r}" if not rows else f"another kind of relation in the place of {table.name!r}"
            continue
        if [tuple(row[2:]) for row in rows] != _expected_postgresql_columns(table):
            yield f"another table {table.name!r} than raymu creates"
        for kind, name in sorted((row[1], row[2]) for row in extras if row[0] == table.name):
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
