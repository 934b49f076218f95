"""Render the report page from its view: one HTML file that loads nothing and runs no script."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from raymu.report import formatting, json_view
from raymu.report.view import ReportView
from raymu.text import duration, plural, words

_FILTERS = {
    "abbreviated": formatting.abbreviated,
    "count": formatting.count,
    "duration": duration,
    "moment": formatting.moment,
    "plain": json_view.plain,
    "plural": plural,
    "prose": formatting.prose,
    "share": formatting.share,
    "words": words,
}
_TESTS = {"nested": json_view.is_nested, "table": json_view.is_table}
_AXIS_FORMATS = {
    "brief": formatting.brief,
    "compact": formatting.compact,
    "share": formatting.share,
    "whole": formatting.count,
}


def render(view: ReportView) -> str:
    """Return the page as HTML that is also well-formed XML."""
    return _environment().get_template("page.html").render(view=view)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("raymu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=formatting.printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.tests.update(_TESTS)
    environment.globals.update(_AXIS_FORMATS)
    return environment
