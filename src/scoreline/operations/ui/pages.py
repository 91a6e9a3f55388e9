"""Requests to pages: GET alone, each text escaped, ids compared as values; no path of a request reaches a file."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from scoreline.errors import ScorelineError, told
from scoreline.operations.explain import explain_user
from scoreline.operations.explanation import METHODS
from scoreline.operations.report.gather import find_run, gather
from scoreline.operations.report.run_page import environment, gate_rows, style_sheet, values
from scoreline.operations.ui import lookups
from scoreline.redaction import redacted
from scoreline.tables.reading import Readers

log = logging.getLogger(__name__)


def application(readers: Readers) -> Starlette:
    """The pages of one pipeline; who may ask for them is `server`'s business."""

    def page(template: str, **said: object) -> Response:
        made = environment(str(__package__)).get_template(template)
        return HTMLResponse(made.render(pipeline=readers.settings.name, served=True, **said))

    def home(request: Request) -> Response:
        found = lookups.overview(readers, now=datetime.now(UTC))
        judged = found.last is not None and found.last.limits is not None
        return page("overview.html", found=found, gates=gate_rows(found.trends, judged=judged))

    def run(request: Request) -> Response:
        recorded = find_run(readers, run_id=request.query_params.get("id"))
        return page("run.html", **values(gather(readers, run=recorded, now=datetime.now(UTC))))

    def user(request: Request) -> Response:
        found = lookups.user_page(readers, user := _asked(request))
        answer = page("user.html", found=found, absent=_why_none(readers, user) if found.row is None else None)
        answer.status_code = 404 if found.row is None and not found.events else 200
        return answer

    def why(request: Request) -> Response:
        item, why_not = (request.query_params.get(name, "").strip() or None for name in ("item", "not"))
        if item is None and why_not is None:
            raise ScorelineError("Say which item.")
        found = explain_user(readers, _asked(request), item, why_not=why_not)
        return page("why.html", found=found, method=METHODS.get(found.method or "sum", ""))

    def item(request: Request) -> Response:
        return page("item.html", found=lookups.item_page(readers, _asked(request)))

    def logged(request: Request) -> Response:
        asked = request.query_params
        number = asked.get("page", "1")
        found = lookups.log_page(
            readers, page=int(number[:6]) if number.isdecimal() else 1, kind=asked.get("kind"), state=asked.get("state")
        )
        return page("log.html", found=found, kind=asked.get("kind", ""), state=asked.get("state", ""))

    def style(request: Request) -> Response:
        return PlainTextResponse(style_sheet(), media_type="text/css")

    def wrong(request: Request, error: Exception) -> Response:
        log.debug("no page", exc_info=error)
        answer = page("error.html", said=redacted(told(error)))
        answer.status_code = 404
        return answer

    def nowhere(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        answer = page("error.html", said="There is no such page." if status == 404 else "That cannot be done here.")
        answer.status_code = status
        return answer

    routes: dict[str, Callable[[Request], Response]] = {
        "/": home, "/run": run, "/user": user, "/why": why, "/item": item, "/log": logged, "/style.css": style,
    }  # fmt: skip
    return Starlette(
        routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in routes.items()],
        exception_handlers={ScorelineError: wrong, HTTPException: nowhere},
    )


def _why_none(readers: Readers, user: str) -> str:
    """Why a user has no list."""
    try:
        absent = explain_user(readers, user).absent
    except ScorelineError as error:
        return redacted(told(error))
    return absent.said if absent else "it has just come, load the page again."


def _asked(request: Request) -> str:
    asked = request.query_params.get("id", "").strip()
    if not asked:
        raise ScorelineError("Say which one.")
    return asked
