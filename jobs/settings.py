"""Every setting once: its type, default, unit and meaning. Read from the environment when a process starts, then passed down.

The variable of a setting is its name in capitals after NUWA_: lease_s is NUWA_LEASE_S. A wrong value stops the start:

    settings = load_settings(WorkerSettings)
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.broker.base import BrokerLimits


def default_data_folder() -> Path:
    """Where programs of this user keep data: $XDG_DATA_HOME/nuwa, or what the platform has instead."""
    home = Path.home()
    match os.uname().sysname:
        case "Darwin":
            return home / "Library" / "Application Support" / "nuwa"
        case _:
            return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "nuwa"


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="NUWA_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    data: Annotated[Path, Field(description="Folder for everything that outlives a process: results, the embedded Redis.")]
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(description="Least level of log lines.")] = "info"
