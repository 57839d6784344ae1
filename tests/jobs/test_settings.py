"""Settings: defaults, where values come from, and what is said of a wrong one."""

from pathlib import Path

import pytest

from jobs.errors import InvalidSettings
from jobs.settings import (
    ALL_SETTINGS,
    BrokerSettings,
    GatewaySettings,
    Settings,
    WorkerSettings,
    default_data_folder,
    load_settings,
    variable,
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ALL_SETTINGS:
        for name in kind.model_fields:
            monkeypatch.delenv(variable(name), raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)


def test_an_empty_environment_gives_the_defaults() -> None:
    gateway, worker, broker = (load_settings(kind) for kind in (GatewaySettings, WorkerSettings, BrokerSettings))
    assert (gateway.host, gateway.port, gateway.max_pixels, gateway.ping_s) == ("127.0.0.1", 8000, 80_000_000, 15)
    assert gateway.data == worker.data == default_data_folder()
    assert worker.weights.parts[-2:] == ("checkpoints", "tiny")
    assert (worker.device, worker.slots) == ("auto", 4)
    assert broker.redis_url is None
    assert broker.limits.lease_s == 15


def test_the_environment_goes_before_defaults_and_what_is_given_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUWA_PORT", "8001")
    assert load_settings(GatewaySettings).port == 8001
    assert load_settings(GatewaySettings, port=8002, host=None).port == 8002
    assert load_settings(GatewaySettings, host=None).host == "127.0.0.1"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUWA_PORT", "")
    monkeypatch.setenv("REDIS_URL", "")
    assert load_settings(GatewaySettings).port == 8000
    assert load_settings(BrokerSettings).redis_url is None


def test_redis_url_is_read_from_its_usual_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://usual")
    found = load_settings(BrokerSettings).redis_url
    assert found is not None
    assert found.get_secret_value() == "redis://usual"
    monkeypatch.setenv("NUWA_REDIS_URL", "redis://own")
    found = load_settings(BrokerSettings).redis_url
    assert found is not None
    assert found.get_secret_value() == "redis://own"


@pytest.mark.parametrize(
    ("kind", "name", "value", "complaint"),
    [
        (GatewaySettings, "port", "99999", "less than or equal to 65535"),
        (GatewaySettings, "port", "http", "valid integer"),
        (GatewaySettings, "max_pixels", "0", "greater than or equal to 1"),
        (GatewaySettings, "ping_s", "nan", "greater than 0"),
        (GatewaySettings, "log_level", "loud", "'debug'"),
        (WorkerSettings, "device", "gpu", "cuda"),
        (WorkerSettings, "slots", "-1", "greater than or equal to 1"),
        (BrokerSettings, "lease_s", "0", "greater than 0"),
        (BrokerSettings, "max_deliveries", "2.5", "valid integer"),
    ],
)
def test_a_wrong_value_is_reported_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, kind: type[Settings], name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(kind)
    assert f"{variable(name)}={value}: " in str(caught.value)
    assert complaint in str(caught.value)


def test_every_wrong_value_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUWA_PORT", "x")
    monkeypatch.setenv("NUWA_PING_S", "y")
    with pytest.raises(InvalidSettings, match=r"(?s)NUWA_PORT.*NUWA_PING_S"):
        load_settings(GatewaySettings)


@pytest.mark.parametrize("given", [True, False])
def test_a_wrong_redis_url_is_reported_without_its_password(monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    url = "http://user:secret@host"
    monkeypatch.setenv("REDIS_URL", "redis://host" if given else url)
    with pytest.raises(InvalidSettings, match="REDIS_URL: must begin with redis://") as caught:
        load_settings(BrokerSettings, redis_url=url if given else None)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(load_settings(BrokerSettings, redis_url="redis://user:secret@host"))


def test_a_heartbeat_too_slow_for_the_lease_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"NUWA_HEARTBEAT_S \(3\) must be at most a third of NUWA_LEASE_S \(6\)"):
        load_settings(BrokerSettings, lease_s=6)
    load_settings(BrokerSettings, lease_s=6, heartbeat_s=2)


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="colour"):
        load_settings(GatewaySettings, colour="red")


def test_the_data_folder_may_be_relative_or_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load_settings(WorkerSettings, data="data").results_folder == tmp_path / "data" / "results"
    assert load_settings(WorkerSettings, data="~/data").data == tmp_path / "home" / "data"


def test_every_setting_says_what_it_means() -> None:
    assert [
        f"{kind.__name__}.{name}"
        for kind in ALL_SETTINGS
        for name, field in kind.model_fields.items()
        if not (field.description or "").endswith(".")
    ] == []
