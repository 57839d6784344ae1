"""Fixtures for everyone: a real Redis for the whole run, a broker of each kind, a browser, and a tiny model.

`redis_url` is emptied before each test. A test that asks for `broker` runs twice, in memory and on Redis; it may
override `limits`. `pass_time` makes leases and jobs grow old: at once in memory, by sleeping on Redis.
"""

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from playwright.sync_api import Browser, sync_playwright

from jobs.broker.base import Broker, BrokerLimits
from jobs.broker.embedded import EmbeddedRedis
from jobs.broker.memory import MemoryBroker
from jobs.broker.redis import RedisBroker
from jobs.job import Job
from jobs.request import GenerateRequest

if TYPE_CHECKING:
    from model.generate import Model

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(
    scope="module"
)  # while it lives, this thread runs its event loop: no asynchronous test may come between
def browser() -> Iterator[Browser]:
    """Chromium, headless; where there is none the test is skipped, unless CI says that there must be one."""
    if CHROMIUM is None and "NUWA_TEST_REQUIRE_BROWSER" not in os.environ:
        pytest.skip("needs Chromium to open the page: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis) -> str:
    """Address of a Redis that holds nothing."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def limits() -> BrokerLimits:
    return BrokerLimits()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def broker(request: pytest.FixtureRequest, limits: BrokerLimits, clock: Clock) -> AsyncIterator[Broker]:
    made: Broker
    if request.param == "memory":
        made = MemoryBroker(limits, clock)
    else:
        made = RedisBroker(request.getfixturevalue("redis_url"), limits)
    yield made
    await made.close()


@pytest.fixture
def pass_time(broker: Broker, clock: Clock) -> Callable[[float], Awaitable[None]]:
    async def let_it_pass(seconds: float) -> None:
        clock.now += seconds
        await asyncio.sleep(seconds if isinstance(broker, RedisBroker) else 0)

    return let_it_pass


@pytest.fixture
def new_job() -> Callable[..., Job]:
    """A factory of jobs with ids job-1, job-2, ...; what it is given replaces fields of the job."""
    numbers = itertools.count(1)

    def make(**fields: object) -> Job:
        known: dict[str, object] = {
            "id": f"job-{next(numbers)}",
            "request": GenerateRequest(prompt="snowy mountains at sunset with a lake", width=256, height=128),
            "seed": 7,
            "order": "omega",
            "model": "tiny",
            "patch_px": 64,
            "created_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
        }
        return Job.model_validate(known | fields)

    return make


# A tiny model with random weights: every property tested with it holds whatever the weights are. What it is made of is
# imported here, since tests that need no model should not wait for torch.


@pytest.fixture(scope="session")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer as WordPieceTokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    names = ["[UNK]", "snowy", "mountains", "at", "sunset", "lake", "forest", "night"]
    tokenizer = WordPieceTokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    path = tmp_path_factory.mktemp("words") / "words.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def model(words_file: Path) -> "Model":
    import torch

    from model.config import PRESETS
    from model.generate import Model
    from model.sketching import Sketcher
    from model.text import WordPieces
    from model.tokenizer import Tokenizer
    from model.transformer import Transformer

    torch.manual_seed(0)
    nano = PRESETS["nano"]
    config = replace(nano, transformer=replace(nano.transformer, distilled_scale=5.0))  # as if taught
    tokenizer, transformer = Tokenizer(config.tokenizer).eval(), Transformer(config).eval()
    sketcher = Sketcher(config).eval()
    with torch.no_grad():
        for part in (tokenizer, transformer, sketcher):
            for p in part.parameters():
                p.add_(torch.randn_like(p) * 0.2)  # away from the zeros that residual branches start with
        transformer.text.sentence.table.random_(-100, 100)
        transformer.text.sentence.scales.fill_(0.01)
    sketcher.text.sentence = transformer.text.sentence
    for part in (tokenizer, transformer, sketcher):
        part.requires_grad_(False)
    words = WordPieces(words_file, config.transformer.text_tokens)
    return Model(config, tokenizer, transformer, words, "test", sketcher)


@pytest.fixture(scope="session")
def weights(model: "Model", words_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's folder."""
    from model.loader import save

    folder = tmp_path_factory.mktemp("weights")
    save(folder, model.config, model.tokenizer, model.transformer, words_file, model.sketcher)
    return folder
