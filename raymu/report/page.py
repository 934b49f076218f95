"""The page: templates filled with a view. One file that needs nothing beside it, and runs no script."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from raymu.report import formatting as wording
from raymu.report import json_view as documents
from raymu.report.view import ReportView

_FILTERS = {
    name: getattr(wording, name) for name in ("abbreviated", "count", "duration", "moment", "prose", "share", "plural")
}
_AXES = {"brief": wording.brief, "compact": wording.compact, "share": wording.share, "whole": wording.count}


def render(view: ReportView) -> str:
    """returns: HTML that is well-formed XML too"""
    return _environment().get_template("page.html").render(view=view)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("raymu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=wording.printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS, plain=documents.plain)
    environment.tests.update(nested=documents.is_nested, table=documents.is_table)
    environment.globals.update(_AXES)
    return environment
