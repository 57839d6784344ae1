"""The service itself: probes, models, figures, the page, the OpenAPI document, and what the gateway may import."""

import subprocess
import sys
from typing import Any

import pytest

from jobs.request import GenerateRequest

pytestmark = pytest.mark.anyio


async def test_alive_without_anything_ready_only_with_redis_and_a_worker(empty_gateway: Any) -> None:
    client = empty_gateway.client
    assert (await client.get("/livez")).json() == {"status": "alive"}
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
    await empty_gateway.broker.announce("fake", [empty_gateway.model], ttl_s=60)
    await empty_gateway.generate()
    assert (await client.get("/readyz")).json() == {"status": "ready", "workers": 1, "queue_depth": 1}
    empty_gateway.broker.away = True
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503
    empty_gateway.broker.away = False
    empty_gateway.app.state.gateway.feeds.close()
    assert (await client.get("/readyz")).json()["code"] == "shutting_down"


async def test_models_come_with_their_limits_and_the_default(gateway: Any) -> None:
    body = (await gateway.client.get("/models")).json()
    assert body["default"] == "tiny"
    [model] = body["models"]
    assert model.pop("limits") == {
        "max_width": 65536,
        "max_height": 65536,
        "max_pixels": 1_000_000,
        "max_frames": 1200,
        "max_fps": 60,
        "max_candidates": 8,
        "max_image_pixels": 1_000_000,
        "max_prompt_chars": 2000,
    }
    assert model == gateway.model.model_dump(mode="json")


async def test_no_models_are_an_empty_list(empty_gateway: Any) -> None:
    assert (await empty_gateway.client.get("/models")).json() == {"models": [], "default": None}


async def test_figures_count_requests_by_route_and_ask_the_broker_for_the_queue(gateway: Any) -> None:
    job = await gateway.generate()
    await gateway.generate()
    await gateway.client.get(job["links"]["self"])
    await gateway.client.get("/jobs/unknown")
    await gateway.client.get("/nowhere")
    answer = await gateway.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for line in [
        'nuwa_requests_total{route="/generate",status="202"} 2.0',
        'nuwa_requests_total{route="/jobs/{job_id}",status="200"} 1.0',
        'nuwa_requests_total{route="/jobs/{job_id}",status="404"} 1.0',
        'nuwa_requests_total{route="unknown",status="404"} 1.0',
        'nuwa_request_duration_seconds_count{route="/generate"} 2.0',
        "nuwa_jobs_waiting 2.0",
        "nuwa_jobs_submitted_total 2.0",
        "nuwa_workers 1.0",
        "nuwa_broker_up 1.0",
        "nuwa_stream_subscribers 0.0",
    ]:
        assert line in answer.text.splitlines()
    assert job["id"] not in answer.text
    gateway.broker.away = True
    answer = await gateway.client.get("/metrics")
    assert (answer.status_code, "nuwa_broker_up 0.0" in answer.text) == (200, True)


async def test_the_page_is_served_under_a_policy_without_inline_script(gateway: Any) -> None:
    answer = await gateway.client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "img-src 'self' data: blob:" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert (await gateway.client.get("/docs")).status_code == 200


async def test_the_document_has_examples_and_our_errors_only(gateway: Any) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    assert set(document["paths"]) == {
        "/generate",
        "/plan",
        "/jobs/{job_id}",
        "/jobs/{job_id}/events",
        "/jobs/{job_id}/patches/{index}.webp",
        "/jobs/{job_id}/result",
        "/jobs/{job_id}/given",
        "/jobs/{job_id}/mask",
        "/jobs/{job_id}/film",
        "/jobs/{job_id}/frames/{index}",
        "/groups/{group_id}",
        "/models",
        "/livez",
        "/readyz",
        "/metrics",
    }
    body = document["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        assert GenerateRequest.model_validate(example["value"])
    assert document["components"]["schemas"]["JobView"]["examples"]
    assert "HTTPValidationError" not in str(document)
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"]
                    assert answer["content"]["application/problem+json"]["example"]["status"] == int(status)
                    assert ("Retry-After" in answer.get("headers", {})) == (int(status) in (409, 429, 503))


def test_the_gateway_never_loads_torch() -> None:
    program = "import sys, server.app, server.main; print('torch' in sys.modules, 'model' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]
