"""One shape for every error; and every route when Redis is gone."""

import re
from typing import Any

import httpx
import pytest

from jobs.errors import NuwaError
from server.errors import STATUS_OF, problems

pytestmark = pytest.mark.anyio

UNKNOWN = "/jobs/" + "0" * 32
JSON = {"Content-Type": "application/json"}
ERRORS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/generate", {"content": b"{", "headers": JSON}, 400, "bad_request"),
    ("POST", "/generate", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
    ("POST", "/generate", {"content": b" " * (8 * 2**20 + 1), "headers": JSON}, 413, "body_too_large"),
    ("POST", "/generate", {"json": {"width": 0}}, 422, "invalid_request"),
    ("POST", "/generate", {"json": {"model": "huge"}}, 422, "unknown_model"),
    ("POST", "/generate?pixels=round", {"json": {}}, 422, "invalid_request"),
    ("GET", "/generate", {}, 405, "method_not_allowed"),
    ("PUT", UNKNOWN, {}, 405, "method_not_allowed"),
    ("POST", "/static/app.css", {}, 405, "method_not_allowed"),
    ("GET", UNKNOWN, {}, 404, "job_not_found"),
    ("DELETE", UNKNOWN, {}, 404, "job_not_found"),
    ("GET", UNKNOWN + "/events", {}, 404, "job_not_found"),
    ("GET", UNKNOWN + "/result", {}, 404, "job_not_found"),
    ("GET", UNKNOWN + "/patches/0.webp", {}, 404, "job_not_found"),
    ("GET", "/jobs/%00", {}, 404, "job_not_found"),
    ("GET", "/jobs/%ff%fe", {}, 404, "job_not_found"),
    ("GET", "/jobs/..%5c..", {}, 404, "job_not_found"),
    ("GET", "/jobs/" + "a" * 5000, {}, 404, "job_not_found"),
    ("GET", "/jobs/{job}/patches/99.webp", {}, 404, "patch_not_found"),
    ("GET", "/jobs/{job}/patches/0.webp?v=00ff", {}, 404, "patch_not_found"),
    ("GET", "/jobs/{job}/patches/-1.webp", {}, 404, "patch_not_found"),
    ("GET", "/jobs/{job}/patches/" + "9" * 5000 + ".webp", {}, 404, "patch_not_found"),
    ("GET", "/jobs/{job}/events", {"headers": {"Last-Event-ID": "yesterday"}}, 400, "malformed_cursor"),
    ("GET", "/jobs/{job}/events?last_event_id=%ed%a0%80", {}, 400, "malformed_cursor"),
    ("GET", "/jobs/{job}/events?pixels=round", {}, 422, "invalid_request"),
    ("GET", "/jobs/{job}/result", {}, 409, "result_not_ready"),
    ("GET", "/jobs/{job}/result?format=gif", {}, 422, "invalid_request"),
    ("GET", "/jobs/{job}/result?download=perhaps", {}, 422, "invalid_request"),
    ("GET", "/jobs/{canceled}/result", {}, 410, "result_gone"),
    ("GET", "/nowhere", {}, 404, "not_found"),
    ("GET", "/models/", {}, 404, "not_found"),
    ("GET", "/static/nothing.js", {}, 404, "not_found"),
    ("GET", "/static/%00", {}, 404, "not_found"),
    ("GET", "/static/..%2f..%2fpyproject.toml", {}, 404, "not_found"),
    ("GET", "/static", {}, 404, "not_found"),
]


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail", "instance", "code", "request_id", "errors"]
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    assert problem["request_id"] == answer.headers["x-request-id"]
    for error in problem["errors"]:
        assert list(error) == ["pointer", "message", "limit"]
        assert error["message"]
    assert bool(problem["errors"]) == (status == 422)
    assert ("retry-after" in answer.headers) == (status in (409, 429, 503))


@pytest.mark.parametrize(("method", "path", "options", "status", "code"), ERRORS)
async def test_every_error_has_the_same_shape(
    gateway: Any, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    job, canceled = await gateway.generate(), await gateway.generate()
    await gateway.client.delete(canceled["links"]["self"])
    path = path.replace("{job}", job["id"]).replace("{canceled}", canceled["id"])
    assert_is_problem(await gateway.client.request(method, path, **options), status, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate"),
        ("GET", UNKNOWN),
        ("DELETE", UNKNOWN),
        ("GET", UNKNOWN + "/events"),
        ("GET", UNKNOWN + "/result"),
        ("GET", UNKNOWN + "/patches/0.webp"),
        ("GET", "/models"),
        ("GET", "/readyz"),
    ],
)
async def test_without_redis_every_route_is_503_and_says_when_to_come_back(
    gateway: Any, method: str, path: str
) -> None:
    gateway.broker.away = True
    answer = await gateway.client.request(method, path, json={} if method == "POST" else None)
    assert_is_problem(answer, 503, "broker_unavailable")


async def test_a_fault_of_our_own_keeps_the_shape_and_hides_its_cause(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(job_id: str) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(gateway.broker, "state", broken)
    answer = await gateway.client.get(UNKNOWN)
    assert_is_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] in caplog.text


@pytest.mark.parametrize("offered", ["abc-123", "6f1c0a3c9be24a0f", "a" * 128])
async def test_a_sane_request_id_is_echoed(gateway: Any, offered: str) -> None:
    answer = await gateway.client.get("/livez", headers={"X-Request-Id": offered})
    assert answer.headers["x-request-id"] == offered


@pytest.mark.parametrize("offered", ["", "a" * 129, "a b", 'x"y', "<script>", "\xe9"])
async def test_any_other_request_id_is_replaced(gateway: Any, offered: str) -> None:
    answer = await gateway.client.get("/livez", headers={"X-Request-Id": offered.encode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"])


def test_every_error_that_reaches_a_caller_has_a_status_and_a_documented_example() -> None:
    startup_only = {"InvalidSettings", "EmbeddedRedisError"}
    ours = {kind for kind in NuwaError.__subclasses__() if kind.__name__ not in startup_only}
    assert {kind.__name__ for kind in ours if kind.__module__.startswith(("jobs", "server"))} <= {
        kind.__name__ for kind in STATUS_OF
    }
    assert problems(*set(STATUS_OF.values()))
