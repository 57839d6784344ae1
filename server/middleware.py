"""What every request passes through: its id, the limit of its body, security headers, figures, the last catch."""

import logging
import re
import secrets
import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.errors import body_too_large, internal_error
from server.forms import FORM
from server.metrics import Metrics
from server.uploads import FILE_MAX_BYTES

BODY_MAX_BYTES = 64 * 1024
JSON_MAX_BYTES = 8 * 2**20  # with a picture in base64; parsing holds up the event loop, so larger ones come as forms
FORM_MAX_BYTES = FILE_MAX_BYTES + 2**20
TAKE_PICTURES = ("/generate", "/plan")
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=-]{1,128}")
_DIGITS = re.compile(rb"[0-9]{1,19}")

# The page: own files only; img-src for patches that arrive inside events and for pictures kept by the browser,
# media-src for films that play while they grow (MediaSource).
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
# FastAPI's API browser: one inline script, and Swagger UI from the address that FastAPI names.
DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; img-src 'self' data: https://fastapi.tiangolo.com; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)

log = logging.getLogger(__name__)


class Gate:
    """The outermost layer, plain ASGI: streams pass through it untouched."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope["request_id"] = request_id
        policy = DOCS_POLICY if scope["path"] == "/docs" else PAGE_POLICY
        added = [(b"x-request-id", request_id.encode()), (b"content-security-policy", policy.encode()), *_SECURITY]
        started = time.perf_counter()
        answered = False

        async def send_first_with_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                message["headers"] = [*message.get("headers", ()), *added]
                route = getattr(scope.get("route"), "path", "unknown")
                self._metrics.answered(route, message["status"], time.perf_counter() - started)
            await send(message)

        limited = _limited(receive, headers.get(b"content-length"), _most_bytes(scope["path"], headers))
        try:
            await self._app(scope, limited, send_first_with_headers)
        except Exception:
            log.exception("request %s to %s failed", request_id, scope["path"])
            if answered:
                raise  # the connection breaks, so that the other side sees that the answer is not whole
            await internal_error(Request(scope))(scope, receive, send_first_with_headers)


def _request_id(offered: bytes) -> str:
    """The caller's own id if it is fit for logs and headers, else a new one."""
    return offered.decode() if _SANE_REQUEST_ID.fullmatch(offered) else secrets.token_hex(8)


def _most_bytes(path: str, headers: Mapping[bytes, bytes]) -> int:
    if path not in TAKE_PICTURES:
        return BODY_MAX_BYTES
    return FORM_MAX_BYTES if headers.get(b"content-type", b"").lower().startswith(FORM.encode()) else JSON_MAX_BYTES


def _limited(receive: Receive, content_length: bytes | None, most_bytes: int) -> Receive:
    """`receive`, refusing to read more than that, whether or not the length was announced."""
    announced = int(content_length) if content_length and _DIGITS.fullmatch(content_length) else 0
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        if announced > most_bytes:
            raise body_too_large(most_bytes)
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > most_bytes:
                raise body_too_large(most_bytes)
        return message

    return receive_limited
