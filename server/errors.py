"""Errors as HTTP answers: one shape (RFC 9457 problem+json) for all, and the only place with their status codes.

NuwaError (jobs/errors.py)  and the gateway's own:
 +- NoWorker                no worker has announced a model since this gateway started
 +- NotReady                the gateway is shutting down
 +- MalformedCursor         Last-Event-ID is not an id of this event log
 +- MalformedForm           a body of multipart/form-data that is none
 +- InvalidRequest          fields are wrong: carries a pointer, a message and a limit for each
 +- GroupNotFound           no group has this id, or its time to live has passed
 +- PatchNotFound           the patch does not exist (yet), or no version of it has this hash
 +- NoGivenPicture          no picture came with the job's request
 +- NoFilm                  the job draws a picture
 +- FrameNotFound           the film has no such frame (yet)
 +- FilmNotBegun            the first frame is not complete yet
 +- ResultNotReady          the job has not ended yet
 +- ResultGone              the job ended without a result, or its file has been removed
"""

# ruff: noqa: N818 - named like those of jobs/errors.py

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from jobs.errors import (
    BrokerUnavailable,
    IdempotencyKeyReused,
    JobNotFound,
    LeaseLost,
    NuwaError,
    QueueFull,
    UnknownModel,
)
from server.wording import FieldError, describe_all

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 2  # what we say when nobody can know


class NoWorker(NuwaError):
    """No worker has announced a model since this gateway started."""

    code = "no_worker"


class NotReady(NuwaError):
    """The gateway is shutting down."""

    code = "shutting_down"


class MalformedCursor(NuwaError):
    """Last-Event-ID is not an id of this event log."""

    code = "malformed_cursor"


class MalformedForm(NuwaError):
    """A body of multipart/form-data that is none."""

    code = "bad_request"


class InvalidRequest(NuwaError):
    """Fields of the request are wrong, each named by a JSON pointer."""

    code = "invalid_request"

    def __init__(self, *errors: FieldError, code: str = "invalid_request") -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors
        self.code = code


class GroupNotFound(NuwaError):
    """No group has this id, or its time to live has passed."""

    code = "group_not_found"


class PatchNotFound(NuwaError):
    """The patch does not exist (yet), or no version of it has this hash."""

    code = "patch_not_found"


class NoGivenPicture(NuwaError):
    """No picture came with the job's request."""

    code = "no_given_picture"


class NoFilm(NuwaError):
    """The job draws a picture."""

    code = "no_film"


class FrameNotFound(NuwaError):
    """The film has no such frame (yet)."""

    code = "frame_not_found"


class FilmNotBegun(NuwaError):
    """The first frame is not complete yet."""

    code = "film_not_begun"


class ResultNotReady(NuwaError):
    """The job has not ended yet."""

    code = "result_not_ready"


class ResultGone(NuwaError):
    """The job ended without a result, or its file has been removed."""

    code = "result_gone"


class Problem(BaseModel):
    """The body of every error."""

    type: str = Field(default="about:blank", description="Always about:blank: `code` tells errors apart.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What went wrong, for people.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="What went wrong, for programs; stable.")
    request_id: str = Field(description="As in the header X-Request-Id; name it when reporting a fault.")
    errors: list[FieldError] = Field(default_factory=list, description="The fields at fault, at most 20.")


STATUS_OF: dict[type[NuwaError], int] = {
    MalformedCursor: 400,
    MalformedForm: 400,
    JobNotFound: 404,
    GroupNotFound: 404,
    PatchNotFound: 404,
    NoGivenPicture: 404,
    NoFilm: 404,
    FrameNotFound: 404,
    LeaseLost: 409,
    FilmNotBegun: 409,
    ResultNotReady: 409,
    ResultGone: 410,
    InvalidRequest: 422,
    IdempotencyKeyReused: 422,
    UnknownModel: 422,
    QueueFull: 429,
    BrokerUnavailable: 503,
    NoWorker: 503,
    NotReady: 503,
}
_CODE_OF_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_RETRY_LATER = (FilmNotBegun, ResultNotReady, QueueFull, BrokerUnavailable, NoWorker, NotReady)


def body_too_large(limit_bytes: int) -> HTTPException:
    """To be raised while reading: FastAPI lets an HTTPException through where it hides others."""
    return HTTPException(413, f"The body must be at most {limit_bytes} bytes.")


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.scope["path"],
        code=code,
        request_id=request.scope.get("request_id", ""),
        errors=list(errors),
    )
    # json.dumps writes ASCII, so that nothing a caller sent can make the answer undecodable.
    body = json.dumps(problem.model_dump(mode="python"), ensure_ascii=True).encode()
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, PROBLEM_JSON)


def internal_error(request: Request) -> Response:
    """For a fault of our own; the log has the rest."""
    return problem_response(request, 500, "internal", "The gateway made a mistake; its log has the request id.")


async def _on_nuwa_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NuwaError)
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)
    headers: dict[str, str] = {}
    if isinstance(error, _RETRY_LATER):
        headers["Retry-After"] = str(error.retry_after_s if isinstance(error, QueueFull) else RETRY_AFTER_S)
    errors = error.errors if isinstance(error, InvalidRequest) else ()
    return problem_response(
        request, status, error.code, str(error) or HTTPStatus(status).phrase, errors=errors, headers=headers
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 400:
        detail = "The body is not JSON in UTF-8 that can be read."
    elif error.status_code == 404:
        detail = "There is nothing at this path."
    elif error.status_code == 405:
        detail = f"{request.method} is not possible here."
    code = _CODE_OF_STATUS.get(error.status_code, "http_error")
    return problem_response(request, error.status_code, code, detail, headers=dict(error.headers or {}))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """Bodies and parameters that FastAPI refused: 400 when unreadable, 415 when not called JSON, else 422."""
    assert isinstance(error, RequestValidationError)
    found: Sequence[dict[str, Any]] = error.errors()
    for fault in found:
        if fault["type"] == "json_invalid":
            place = fault["loc"][-1]
            return problem_response(
                request, 400, "bad_request", f"The body is not JSON: {fault['ctx']['error']} at {place}."
            )
        if fault["type"] == "missing" and fault["loc"] == ("body",):
            return problem_response(request, 400, "bad_request", "The body is empty; a JSON object is expected.")
    if any(fault["loc"] == ("body",) and isinstance(error.body, bytes) for fault in found):
        return problem_response(
            request,
            415,
            "unsupported_media_type",
            "The body must be JSON, with Content-Type: application/json; routes that take a file also read a form.",
        )
    errors = describe_all(found)
    detail = "; ".join(entry.message for entry in errors)
    return problem_response(request, 422, InvalidRequest.code, detail, errors=errors)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(NuwaError, _on_nuwa_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


_EXAMPLES = {
    400: ("bad_request", "The body is not JSON: Expecting value at 12."),
    404: ("job_not_found", "There is no job 0199."),
    409: ("result_not_ready", "The job is running: 12 of 32 patches are done."),
    410: ("result_gone", "The job was canceled; it has no result."),
    413: ("body_too_large", "The body must be at most 8388608 bytes."),
    415: ("unsupported_media_type", "The body must be JSON, with Content-Type: application/json."),
    416: ("range_not_satisfiable", "The range begins beyond the end of the file."),
    422: ("invalid_request", "width must be at most 65536 (got 1000000000)"),
    429: ("queue_full", "1000 jobs are waiting already"),
    503: ("broker_unavailable", "Redis does not answer."),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these statuses, for OpenAPI."""
    return {status: _documented(status) for status in statuses}


def _documented(status: int) -> dict[str, Any]:
    code, detail = _EXAMPLES[status]
    example: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": "/generate" if status in (413, 415, 422, 429) else "/jobs/0199",
        "code": code,
        "request_id": "6f1c0a3c9be24a0f",
        "errors": [],
    }
    if status == 422:
        example["errors"] = [{"pointer": "/width", "message": detail, "limit": 65536}]
    documented: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in (409, 429, 503):
        documented["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return documented
