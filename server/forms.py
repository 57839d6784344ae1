"""Bodies of multipart/form-data: a JSON part `request`, files `image` and `mask`, for routes that else take JSON."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from server.errors import InvalidRequest, MalformedForm
from server.uploads import FILE_MAX_BYTES, Files, Upload
from server.wording import field_error

FORM = "multipart/form-data"
_JSON = [(b"content-type", b"application/json")]


class FormRoute(APIRoute):
    """Hands the JSON part on as if it were the whole body; the files wait in request.state.files."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            request.state.files = Files()
            if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
                return await handle(request)
            body, files = await _read(request)
            others = [
                header for header in request.scope["headers"] if header[0] not in (b"content-type", b"content-length")
            ]
            inner = Request({**request.scope, "headers": [*others, *_JSON]}, _replay(body))
            inner.state.files = files
            return await handle(inner)

        return handle_form


async def _read(request: Request) -> tuple[bytes, Files]:
    """The JSON part ({} when there is none) and the files. Raises InvalidRequest, MalformedForm."""
    body, files = b"{}", dict[str, Upload]()
    try:
        form = await request.form(max_files=3, max_fields=3)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise MalformedForm(f"The form cannot be read: {error.detail}") from None
    try:
        for name, value in form.multi_items():
            if name == "request":
                body = await value.read() if isinstance(value, UploadFile) else value.encode("utf-8", "surrogatepass")
            elif name in ("image", "mask"):
                if not isinstance(value, UploadFile):
                    raise InvalidRequest(field_error(name, "must be a file, with a filename"))
                data = await value.read(FILE_MAX_BYTES + 1)
                files[name] = Upload(data, (value.content_type or "").lower(), name)
            else:
                raise InvalidRequest(field_error(name, "is not a known part: the parts are request, image and mask"))
    finally:
        await form.close()
    return body, Files(**files)


def _replay(body: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
