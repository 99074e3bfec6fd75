"""Errors of the API, all in one form: application/problem+json (RFC 9457) with the next step."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class Problem(Exception):  # noqa: N818 - it is named as the standard names it
    """A request that is refused.

    Args:
        status: of HTTP.
        detail: what is wrong, with the value.
        next_step: what the client can do.
        headers: of the answer.
    """

    def __init__(self, status: int, detail: str, next_step: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.next_step, self.headers = status, detail, next_step, headers

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(
            {
                "type": "about:blank",
                "title": HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail,
                "next": self.next_step,
            },
            self.status,
            self.headers,
            media_type="application/problem+json",
        )


# What every endpoint can answer, for the description of the API.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "description": "The request is refused; `detail` says why and `next` what to do.",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "next": {"type": "string"},
                    },
                }
            }
        },
    }
}


def add_handlers(app: FastAPI) -> None:
    """Give all errors of an application the one form."""

    def on_problem(_: Request, problem: Exception) -> JSONResponse:
        assert isinstance(problem, Problem)  # noqa: S101 - it is registered for nothing else
        return problem.response()

    def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        detail = f"{request.method} {request.url.path}: {error.detail}"
        return Problem(error.status_code, detail, "see /docs for what there is", dict(error.headers or {})).response()

    def on_values(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        wrong = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}" for each in error.errors())
        return Problem(422, wrong, "see /docs for the values that are taken").response()

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_values)
