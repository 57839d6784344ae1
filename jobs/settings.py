"""Every setting once: its type, default, unit and meaning. Read from the environment at the start, then passed down.

The variable of a setting is NUWA_ and its name in capitals: lease_s is NUWA_LEASE_S. A wrong value stops the start:

    settings = load_settings(WorkerSettings, device="cpu")  # what is given here goes before the environment
"""

import os
import sys
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.broker.base import BrokerLimits
from jobs.errors import InvalidSettings
from jobs.request import CANDIDATES_MAX

_PREFIX = "NUWA_"
_REPOSITORY = Path(__file__).resolve().parent.parent


def default_data_folder() -> Path:
    """Where this user's programs keep data: $XDG_DATA_HOME/nuwa, or what the platform has in its place."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "nuwa"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "nuwa"


class Settings(BaseSettings):
    """What every process has. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least important lines that are logged."
    )


class DataSettings(Settings):
    """The folder that outlives processes."""

    data: Path = Field(
        default_factory=default_data_folder, description="Folder for results and for the data of the embedded Redis."
    )

    @field_validator("data")
    @classmethod
    def _absolute(cls, data: Path) -> Path:
        return data.expanduser().absolute()

    @property
    def results_folder(self) -> Path:
        return self.data / "results"


class BrokerSettings(Settings):
    """Gateway and workers: how to reach Redis, and the rules that all of them must agree on."""

    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("NUWA_REDIS_URL", "REDIS_URL"),
        description="redis://, rediss:// or unix:// address; left out, `nuwa serve` starts a Redis of its own.",
    )
    lease_s: float = Field(
        default=15.0, gt=0, le=3600, description="Seconds after which an unrenewed job passes to another worker."
    )
    heartbeat_s: float = Field(
        default=3.0, gt=0, description="Seconds between a worker's signs of life; at most a third of lease_s."
    )
    max_deliveries: int = Field(
        default=5, ge=1, description="How often in a row a job is taken without one new patch before it fails."
    )
    job_ttl_s: float = Field(
        default=86_400.0, ge=1, description="Seconds for which an ended job, its events and its picture are kept."
    )
    queue_max: int = Field(default=1000, ge=1, description="Jobs that may wait; more are refused until there is room.")

    @field_validator("redis_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @model_validator(mode="after")
    def _heart_beats_within_the_lease(self) -> Self:
        if self.heartbeat_s * 3 > self.lease_s:
            raise ValueError(
                f"NUWA_HEARTBEAT_S ({self.heartbeat_s:g}) must be at most a third of NUWA_LEASE_S ({self.lease_s:g}), "
                "so that one late sign of life loses no job"
            )
        return self

    @property
    def limits(self) -> BrokerLimits:
        return BrokerLimits(
            lease_s=self.lease_s,
            max_deliveries=self.max_deliveries,
            job_ttl_s=self.job_ttl_s,
            queue_max=self.queue_max,
        )


class GatewaySettings(DataSettings):
    """The HTTP side."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all networks.")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")
    max_pixels: int = Field(
        default=80_000_000, ge=1, description="Largest picture, width times height in pixels; of a film, all frames."
    )
    max_frames: int = Field(default=1200, ge=1, description="Longest film, in frames.")
    max_candidates: int = Field(default=8, ge=1, le=CANDIDATES_MAX, description="Most pictures of one request (its n).")
    default_model: str | None = Field(
        default=None, description="Model for requests that name none; left out, the first by name."
    )
    ping_s: float = Field(
        default=15.0, gt=0, description="Seconds of silence after which an event stream sends a ping."
    )


class WorkerSettings(DataSettings):
    """One worker: a process that owns one device."""

    weights: Path = Field(
        default=_REPOSITORY / "checkpoints" / "tiny", description="Folder of the model: weights, config.json."
    )
    engine: Literal["torch", "tile"] = Field(
        default="torch", description="What draws: torch, the model; tile, plain tiles without a model."
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$", description="auto, cpu, mps, cuda or cuda:1."
    )
    # Left out, PyTorch takes one: the last bits of its products may depend on their number, native code's do not.
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads that draw tokens; left out, one for each processor."
    )
    slots: int = Field(default=4, ge=1, le=1024, description="Patches decoded together.")
    pool_pages: int = Field(
        default=512, ge=2, description="Pages of the Nearby Context Pool: states of patches, two each with guidance."
    )
    max_jobs: int = Field(default=8, ge=1, le=10_000, description="Jobs a worker has in hand at a time.")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535, description="Port of the worker's own /metrics; left out, it has none."
    )


ALL_SETTINGS: tuple[type[Settings], ...] = (BrokerSettings, GatewaySettings, WorkerSettings)

_AnySettings = TypeVar("_AnySettings", bound=Settings)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return _PREFIX + name.upper()


def load_settings(kind: type[_AnySettings], **given: Any) -> _AnySettings:
    """Settings from what is given (None counts as not given), then the environment, then the defaults.

    Raises InvalidSettings, which says for each wrong value its variable and what is wrong with it, but never the value
    of a secret.
    """
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InvalidSettings("\n".join(_explain(kind, problem) for problem in error.errors())) from None


def _explain(kind: type[Settings], problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(message)
    name = str(problem["loc"][0])
    if name not in kind.model_fields:
        return f"{name}: {message}"  # already the variable, or a name that no setting has
    if kind.model_fields[name].annotation == SecretStr | None:
        return f"{variable(name)}: {message}"
    return f"{variable(name)}={problem['input']}: {message}"
