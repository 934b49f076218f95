"""People at a browser: what they may see, how they sign in, and what every page tells the browser to refuse."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from raymu.report.page import render_page
from raymu.web.guards import COOKIE
from raymu.web.tokens import RIGHTS, Right

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, a browser names no origin when it sends a form
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What every page of the service shows around its content."""

    runs: tuple[str, ...]
    path: str
    """The path of this page."""
    caller: str
    """Name of the token; empty without one."""
    role: str
    may_read: bool
    may_revoke: bool
    may_observe: bool


class PageRefused(Exception):
    """A call that is answered with a page about a problem."""

    def __init__(self, status: int, heading: str, problem: str) -> None:
        super().__init__(problem)
        self.status, self.heading, self.problem = status, heading, problem


class SignInNeeded(Exception):
    """A call by someone who has not signed in."""


def site_for(request: Request, *, runs: Sequence[str], right: Right | None = None) -> Site:
    """Return what a person may do.

    Args:
        request: The call.
        runs: Names of the runs.
        right: What the call needs; None for nothing.

    Raises:
        SignInNeeded: The person has not signed in.
        PageRefused: The person's role does not have the right.
    """
    token = request.state.token
    role = request.state.role
    if role is None and right is not None:
        raise SignInNeeded
    rights = RIGHTS[role] if role is not None else frozenset()
    if right is not None and right not in rights:
        raise PageRefused(403, "Not for this role", f"A token of the role {role} may not do this.")
    return Site(
        runs=tuple(runs),
        path=request.url.path,
        caller=token.name if token else "",
        role=str(role or ""),
        may_read=Right.READ in rights,
        may_revoke=Right.REVOKE in rights,
        may_observe=Right.OBSERVE in rights,
    )


def require_same_origin(request: Request) -> None:
    """Raise PageRefused unless a form was sent by a page of this service: another site's page could send one too."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_own = site == "same-origin"
    else:  # a browser from before 2023
        is_own = origin is not None and urlsplit(origin).netloc == request.headers.get("host", "")
    if not is_own:
        raise PageRefused(
            403, "Refused", "The form was not sent from a page of this service. Programs call /v1/requests."
        )


def page_answer(template: str, site: Site, status: int = 200, **context: object) -> Response:
    """Answer with a page."""
    return HTMLResponse(render_page(template, site=site, **context), status, _HEADERS)


def redirect(path: str) -> Response:
    """Send the browser to another page of this service."""
    return RedirectResponse(path, 303, _HEADERS)


def sign_in(token: str, *, is_secure: bool) -> Response:
    """Keep a token at the browser, where no script and no other site can use it."""
    answer = redirect("/")
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=is_secure, path="/", max_age=12 * 3600)
    return answer


def sign_out() -> Response:
    """Have the browser forget the token."""
    answer = redirect("/sign-in")
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return answer
