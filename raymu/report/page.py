"""Render pages from their views: a report, one HTML file that loads nothing and runs no script; pages of the service."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from raymu.report import formatting, json_view
from raymu.report.view import ReportView
from raymu.text import duration, plural, words

_FILTERS = {
    "abbreviated": formatting.abbreviated,
    "clock": formatting.clock,
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
    return render_page("page", site=None, view=view, key_fingerprint=view.key_fingerprint)


def render_page(template: str, /, **context: Any) -> str:
    """Return one page. Raises UndefinedError if the context lacks what its template needs.

    Args:
        template: Name of the template.
        context: Names that the template has. `site` is None for a page that is written into a file.
    """
    return _environment().get_template(f"{template}.html").render(**context)


def style_sheet() -> str:
    """Return the style of all pages."""
    return _environment().get_template("style.css").render()


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
