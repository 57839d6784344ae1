"""Bodies of multipart/form-data: a JSON part `request` and a file part `image`, for routes that otherwise take JSON."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from server.errors import InvalidRequest, MalformedForm
from server.uploads import FILE_MAX_BYTES, Upload
from server.wording import field_error

FORM = "multipart/form-data"
_JSON = [(b"content-type", b"application/json")]


class FormRoute(APIRoute):
    """Hands the JSON part on as if it were the whole body; the file waits in request.state.upload (None: no file)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            request.state.upload = None
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
                return await handle(request)
            body, upload = await _read(request)
            others = [
                header for header in request.scope["headers"] if header[0] not in (b"content-type", b"content-length")
            ]
            inner = Request({**request.scope, "headers": [*others, *_JSON]}, _replay(body))
            inner.state.upload = upload
            return await handle(inner)

        return handle_form


async def _read(request: Request) -> tuple[bytes, Upload | None]:
    """The JSON part ({} when there is none) and the file. Raises InvalidRequest, MalformedForm."""
    body, upload = b"{}", None
    try:
        form = await request.form(max_files=2, max_fields=2)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise MalformedForm(f"The form cannot be read: {error.detail}") from None
    try:
        for name, value in form.multi_items():
            if name == "request":
                body = await value.read() if isinstance(value, UploadFile) else value.encode("utf-8", "surrogatepass")
            elif name == "image":
                if not isinstance(value, UploadFile):
                    raise InvalidRequest(field_error("image", "must be a file, with a filename"))
                upload = Upload(await value.read(FILE_MAX_BYTES + 1), (value.content_type or "").lower())
            else:
                raise InvalidRequest(field_error(name, "is not a known part: the parts are request and image"))
    finally:
        await form.close()
    return body, upload


def _replay(body: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
