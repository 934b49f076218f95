"""The pages for people: the overview, requests and their receipts, a form for deletions, and the page of each run."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from raymu.config.unlearning import Strategy
from raymu.data.due_dates import DueInvalid, read_due
from raymu.errors import IdempotencyConflict, RaymuError, RequestInvalid
from raymu.report.page import style_sheet
from raymu.report.receipt_document import ReceiptDocument
from raymu.report.receipt_pdf import has_pdf, receipts_pdf
from raymu.report.request_index import STATES
from raymu.service.requests.revocation import Revocation
from raymu.text import one_line
from raymu.web.documents import RequestBody, RunOutcome
from raymu.web.page_content import PageContent, Search
from raymu.web.served_run import ServedRun
from raymu.web.tokens import Right, Tokens
from raymu.web.visitors import (
    PageRefused,
    SignInNeeded,
    Site,
    page_answer,
    redirect,
    require_same_origin,
    sign_in,
    sign_out,
    site_for,
)

Submit: TypeAlias = Callable[[Sequence[ServedRun], Revocation], Awaitable[list[RunOutcome]]]
_FIELDS = ("key", "ids", "owner", "due", "strategy", "run", "ignore_unknown")
_MOST_FIELDS = 50


def add_pages(
    app: FastAPI,
    served_runs: Mapping[str, ServedRun],
    *,
    content: PageContent,
    tokens: Tokens,
    submit: Submit,
) -> None:
    """Add the pages to the application.

    Args:
        app: The application.
        served_runs: Name -> run.
        content: What the pages show.
        tokens: The tokens that people sign in with.
        submit: Sends a deletion to runs, and returns what each answered. Raises RaymuError.
    """
    names = tuple(served_runs)

    def site_of(request: Request, right: Right | None = None) -> Site:
        return site_for(request, runs=names, right=right)

    class PageRoute(APIRoute):
        """A route whose problems are pages."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    return await handle(request)
                except SignInNeeded:
                    return redirect("/sign-in")
                except PageRefused as refusal:
                    status, heading, problem = refusal.status, refusal.heading, refusal.problem
                except HTTPException as error:
                    status, heading, problem = error.status_code, "Refused", one_line(error.detail)
                except RaymuError as error:
                    status, heading, problem = 503, "The run cannot be read now", one_line(error)
                return page_answer("problem", site_of(request), status, heading=heading, problem=problem)

            return answer

    router = APIRouter(route_class=PageRoute, include_in_schema=False)

    @router.get("/")
    async def show_overview(request: Request) -> Response:
        site = site_of(request, Right.READ)
        context = await asyncio.to_thread(content.overview, datetime.now(UTC))
        return page_answer("overview", site, **context, **_form({}))

    @router.get("/requests")
    async def show_requests(request: Request) -> Response:
        site = site_of(request, Right.READ)
        query = request.query_params
        search = Search(
            text=query.get("text", "").strip()[:64],
            state=state if (state := query.get("state", "")) in STATES else "",
            run=run if (run := query.get("run", "")) in served_runs else "",
        )
        page = query.get("page", "1")
        number = int(page) if page.isascii() and page.isdigit() and len(page) < 10 else 1
        context = await asyncio.to_thread(content.request_list, search, number, datetime.now(UTC))
        return page_answer("request_list", site, **context)

    @router.get("/requests/{request_id}")
    async def show_request(request_id: str, request: Request) -> Response:
        site = site_of(request, Right.READ)
        document = await document_of(request_id, request)
        return page_answer("request_page", site, document=document, has_pdf=has_pdf())

    async def document_of(request_id: str, request: Request) -> ReceiptDocument:
        document = await asyncio.to_thread(content.request, request_id, datetime.now(UTC))
        if document is None:
            raise PageRefused(404, "No such request", "No run of this service has a request with this id.")
        request.state.request_ids.append(request_id)
        return document

    @router.get("/requests/{request_id}/receipt.pdf")
    async def download_pdf(request_id: str, request: Request) -> Response:
        site_of(request, Right.READ)
        document = await document_of(request_id, request)
        if document.request.issued is None:
            raise PageRefused(404, "No receipt", "It is issued once the samples are purged.")
        if not has_pdf():
            raise PageRefused(404, "No PDF", "The extra pdf of raymu is not installed here.")
        payload = await asyncio.to_thread(receipts_pdf, [document])
        headers = {"Content-Disposition": f'attachment; filename="receipt-{_file_part(request_id)}.pdf"'}
        return Response(payload, media_type="application/pdf", headers=headers)

    @router.get("/requests/{request_id}/receipt.json")
    async def download_receipt(request_id: str, request: Request) -> Response:
        site_of(request, Right.READ)
        for served in served_runs.values():
            documents = await asyncio.to_thread(served.run.signed_receipts, [request_id])
            if documents:
                request.state.request_ids.append(request_id)
                headers = {"Content-Disposition": f'attachment; filename="receipt-{_file_part(request_id)}.json"'}
                text = json.dumps(documents[-1], indent=2)
                return Response(text, media_type="application/json", headers=headers)
        raise PageRefused(404, "No receipt", "It is issued once the samples are purged.")

    @router.post("/requests")
    async def submit_deletion(request: Request) -> Response:
        site = site_of(request, Right.REVOKE)
        require_same_origin(request)
        fields = await _fields_of(request)
        try:
            body = _body_of(fields)
            chosen = [served_runs[body.run]] if body.run else list(served_runs.values())
            outcomes = await submit(chosen, body.revocation(fields.get("key") or None))
        except KeyError:
            return page_answer("form_page", site, 404, **_form(fields, "no run of this service has that name"))
        except RequestInvalid as error:
            return page_answer("form_page", site, 422, **_form(fields, one_line(error)))
        except IdempotencyConflict:
            problem = "This form was sent with another deletion. Send it again: it is a new one now."
            return page_answer("form_page", site, 409, **_form({**fields, "key": ""}, problem))
        made = [outcome.request_id for outcome in outcomes if outcome.request_id]
        request.state.request_ids += made
        if len(outcomes) == len(made) == 1:
            return redirect(f"/requests/{made[0]}")
        if not made and not any(outcome.earlier_requests for outcome in outcomes):
            problem = "; ".join(dict.fromkeys(outcome.problem or outcome.status for outcome in outcomes))
            return page_answer("form_page", site, 422, **_form(fields, problem))
        return page_answer("submitted", site, 202 if made else 200, outcomes=outcomes, accepted=bool(made))

    @router.post("/find")
    async def find_request(request: Request) -> Response:
        site = site_of(request, Right.READ)
        require_same_origin(request)
        fields = await _fields_of(request)
        value, kind = fields.get("value", ""), fields.get("kind", "")
        named = {"id": "ids", "owner": "owners", "key": "keys"}.get(kind)
        matches: list[str] = []
        if value and named:
            for served in served_runs.values():
                results = await asyncio.to_thread(partial(served.run.find_requests, **{named: [value]}))
                matches += [match.request_id for match in results if match.request_id]
        if len(set(matches)) == 1:
            return redirect(f"/requests/{matches[0]}")
        context = await asyncio.to_thread(content.request_list, Search(), 1, datetime.now(UTC))
        among = [view for view in await _views(matches) if view] if matches else []
        problem = "" if among else "No request has what was looked for."
        listed = {"requests": among, "total": len(among), "pages": 1, "is_narrowed": True, "problem": problem}
        return page_answer("request_list", site, **{**context, **listed})

    async def _views(request_ids: Sequence[str]) -> list[Any]:
        now = datetime.now(UTC)
        documents = [await asyncio.to_thread(content.request, each, now) for each in dict.fromkeys(request_ids)]
        return [document.request for document in documents if document]

    @router.get("/runs/{name}")
    async def show_run(name: str, request: Request) -> Response:
        site = site_of(request, Right.OBSERVE)
        if name not in served_runs:
            raise PageRefused(404, "No such run", "No run of this service has this name.")
        context = await asyncio.to_thread(content.run_context, name, datetime.now(UTC))
        return await asyncio.to_thread(page_answer, "page", site, **context)

    @router.get("/sign-in")
    async def show_sign_in(request: Request) -> Response:
        return page_answer("sign_in", site_of(request), problem="")

    @router.post("/sign-in")
    async def take_token(request: Request) -> Response:
        require_same_origin(request)
        text = (await _fields_of(request)).get("token", "").strip()
        if tokens.find(text) is None:
            return page_answer("sign_in", site_of(request), 401, problem="This token is not valid.")
        return sign_in(text, is_secure=request.url.scheme == "https")

    @router.post("/sign-out")
    async def forget_token(request: Request) -> Response:
        require_same_origin(request)
        return sign_out()

    @router.get("/style.css")
    async def read_style() -> Response:
        return Response(style_sheet(), media_type="text/css", headers={"X-Content-Type-Options": "nosniff"})

    app.include_router(router)


async def _fields_of(request: Request) -> dict[str, str]:
    """Read a form. Raises PageRefused."""
    try:
        text = (await request.body()).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise PageRefused(400, "Refused", "This is no form of this service.") from error


def _body_of(fields: Mapping[str, str]) -> RequestBody:
    """Return the deletion that a form describes. Raises RequestInvalid."""
    ids = [line.strip() for line in fields.get("ids", "").splitlines() if line.strip()]
    try:
        return RequestBody(
            ids=ids or None,
            owner=fields.get("owner", "").strip() or None,
            run=fields.get("run") or None,
            strategy=fields.get("strategy") or None,
            due=read_due(due) if (due := fields.get("due")) else None,
            ignore_unknown=fields.get("ignore_unknown") == "yes",
        )
    except DueInvalid as error:
        raise RequestInvalid(f"due {error}") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"][:1])
        raise RequestInvalid(one_line(f"{place}: {first['msg']}" if place else first["msg"])) from error


def _form(fields: Mapping[str, str], problem: str = "") -> dict[str, Any]:
    """Return what the form for deletions needs. A new form has a key of its own, so that it counts once."""
    form = {name: fields.get(name, "") for name in _FIELDS}
    form["key"] = form["key"] or secrets.token_urlsafe(16)
    return {"form": form, "problem": problem, "strategies": tuple(Strategy)}


def _file_part(request_id: str) -> str:
    return "".join(letter for letter in request_id if letter.isascii() and (letter.isalnum() or letter == "-"))[:80]
