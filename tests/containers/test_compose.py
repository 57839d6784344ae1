"""docker-compose.yml and the Dockerfiles say what they should; docker/check.sh runs them for real."""

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def compose_schema() -> dict[str, Any]:
    """The compose specification's JSON schema, as the check-jsonschema package carries it."""
    return json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())


def dockerfile_of(service: dict[str, Any]) -> str | None:
    return (ROOT / service["build"]["dockerfile"]).read_text() if "build" in service else None


def installed_by(role: str) -> str:
    """What docker/requirements.py prints for an image."""
    command = [sys.executable, "docker/requirements.py", role]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_compose_file_keeps_the_compose_specification(compose, compose_schema):
    jsonschema.validate(compose, compose_schema)


def test_the_schema_refuses_a_misspelt_key(compose, compose_schema):
    compose = json.loads(json.dumps(compose))
    compose["services"]["gateway"]["portz"] = []
    with pytest.raises(jsonschema.ValidationError, match="portz"):
        jsonschema.validate(compose, compose_schema)


def test_ports_are_published_on_loopback_only(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_service_runs_as_root(compose):
    for name, service in compose["services"].items():
        users = re.findall(r"^USER (\S+)", dockerfile_of(service) or "", re.MULTILINE) or [service.get("user")]
        assert users[-1] not in (None, "root", "0"), name


def test_every_service_has_a_health_check(compose):
    for name, service in compose["services"].items():
        assert "healthcheck" in service or "HEALTHCHECK" in (dockerfile_of(service) or ""), name


def test_redis_keeps_an_append_only_file_on_a_volume_and_never_evicts(compose):
    redis = compose["services"]["redis"]
    command = " ".join(redis["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert any(volume.endswith(":/data") for volume in redis["volumes"])


def test_gateway_and_workers_share_one_folder_for_results_and_one_redis(compose):
    services = [compose["services"][name] for name in ("gateway", "worker", "worker-cpu")]
    assert len({service["environment"]["REDIS_URL"] for service in services}) == 1
    assert len({tuple(service["volumes"]) for service in services}) == 1


def test_only_the_gpu_worker_reserves_a_device(compose):
    def reserved(service):
        return service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])

    assert [name for name, service in compose["services"].items() if reserved(service)] == ["worker"]
    assert reserved(compose["services"]["worker"])[0]["capabilities"] == ["gpu"]


def test_a_profile_starts_one_kind_of_worker_and_the_default_is_the_gpu(compose):
    assert compose["services"]["worker"]["profiles"] == ["gpu"]
    assert compose["services"]["worker-cpu"]["profiles"] == ["cpu"]
    assert "COMPOSE_PROFILES=gpu" in (ROOT / ".env").read_text().splitlines()


def test_gateway_image_installs_no_torch_and_holds_no_model():
    gateway = (ROOT / "docker/server.Dockerfile").read_text()
    assert "requirements.py server >" in gateway
    assert "torch" not in installed_by("server")
    copied = re.findall(r"^COPY (.+)$", gateway, re.MULTILINE)
    assert not any(word in line for line in copied for word in ("model", "workers", "checkpoints"))


def test_worker_image_installs_the_pinned_torch_and_brings_the_shipped_weights():
    assert re.search(r"^torch==\d+\.\d+\.\d+$", installed_by("worker"), re.MULTILINE)
    assert re.search(r"^COPY checkpoints ", (ROOT / "docker/worker.Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_everything_an_image_copies_is_let_through_by_dockerignore(dockerfile):
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile.read_text(), re.MULTILINE):
        assert set(line.split()[:-1]) <= allowed, line
