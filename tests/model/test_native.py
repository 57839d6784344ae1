"""The native step against the plain PyTorch loop, against itself in any company, and where it cannot run."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from canvas.grid import Grid, Patch
from canvas.order import ORDERS
from model.generate import Canvas, Model, PatchDecoder, continue_canvas
from model.loader import load
from model.native import build
from model.native.build import UnavailableError
from model.native.step import NativeSteps, choose
from model.sampling import Sampling, SamplingRows, draw, guide, patch_noise
from model.transformer import Transformer

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "tiny"
PROMPT = "snowy mountains at sunset lake"
CPU = torch.device("cpu")

Job = tuple[Canvas, Patch]


def available() -> str:
    """Why not, or nothing."""
    try:
        build.load()
    except UnavailableError as reason:
        return str(reason)
    return "" if torch.backends.cpu.get_cpu_capability().startswith("AVX") else "the processor has no AVX2"


native_only = pytest.mark.skipif(bool(available()), reason=f"no native step here: {available()}")


def half_done(model: Model, order: str = "zeta", sampling: Sampling | None = None) -> tuple[PatchDecoder, Job]:
    """A decoder, and a canvas of 2 x 3 patches with the next to be drawn, which looks at several."""
    decoder = PatchDecoder(model, slots=3, step="native")
    canvas = decoder.start("job", Grid(1, 2, 3, model.config.patch_px), order, PROMPT, sampling or Sampling(), 5)
    *done, patch = list(ORDERS[order].sequence(canvas.grid))[:5]
    for earlier in done:
        decoder.decode([(canvas, earlier)])
    return decoder, (canvas, patch)


def both_ways(
    model: Model, decoder: PatchDecoder, job: Job
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Guided logits [M, V] and states of one patch by native code, and by one PyTorch pass over the same tokens."""
    transformer, m = model.transformer, model.config.transformer.tokens_per_patch
    canvas, patch = job
    context = decoder._context([job])
    trace = torch.empty(1, m, model.config.tokenizer.codebook_size)
    tokens, *states = NativeSteps(transformer)(
        context,
        SamplingRows([canvas.sampling], CPU),
        patch_noise(canvas.seed, *patch, m)[None],
        torch.full((1, m), -1),
        trace,
    )
    hidden, keys, values = transformer.patch_pass(
        transformer.embed(tokens.repeat_interleave(2, 0), context.conditions),
        context.orders,
        lambda n, k, v: (context.keys[n], context.values[n]),
        context.mask,
    )
    logits = transformer.logits(hidden[:, :-1])
    guided = guide(logits[0], logits[1], torch.tensor(canvas.sampling.cfg_scale))
    return trace[0], guided, (states[0], states[1]), (keys, values)


@native_only
@pytest.mark.parametrize("order", list(ORDERS))
def test_logits_and_states_agree_with_pytorch(model: Model, order: str) -> None:
    decoder, job = half_done(model, order, Sampling(cfg_scale=2.0))
    ours, theirs, states, expected = both_ways(model, decoder, job)
    # 16-bit weights, keys and values: a few parts in 2,000 of numbers of about this size
    assert (ours - theirs).abs().max() < 5e-3 * theirs.abs().max()
    for own, other in zip(states, expected, strict=True):
        assert (own.float() - other).abs().max() < 5e-3 * other.abs().max()


@native_only
def test_logits_of_the_shipped_checkpoint_agree_with_pytorch() -> None:
    model = load(CHECKPOINT, "cpu")
    decoder, job = half_done(model, sampling=Sampling(cfg_scale=3.0))
    with torch.inference_mode():
        ours, theirs, *_ = both_ways(model, decoder, job)
    error = (ours - theirs).abs()
    assert error.mean() < 5e-3  # of logits that are 4 on average; guidance by 3 multiplies errors by up to 5
    assert error.max() < 0.1


@native_only
def test_greedy_tokens_of_the_shipped_checkpoint_are_those_of_pytorch() -> None:
    """But at near ties: the likeliest token by native code is within the error above of PyTorch's likeliest."""
    model = load(CHECKPOINT, "cpu")
    decoder, job = half_done(model, sampling=Sampling(temperature=0.0))
    with torch.inference_mode():
        ours, theirs, *_ = both_ways(model, decoder, job)
    chosen = theirs.gather(1, ours.argmax(1, keepdim=True)).squeeze(1)
    assert (theirs.max(1).values - chosen).max() < 0.1
    assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.95


class Alone:
    """Tokens and pages of patches that were decoded one at a time, by seed; what company must not change."""

    def __init__(self, model: Model) -> None:
        self.model, self.grid = model, Grid(1, 2, 2, model.config.patch_px)
        self.known: dict[int, tuple[Tensor, Tensor]] = {}

    def canvas(self, decoder: PatchDecoder, seed: int) -> Canvas:
        sampling = [
            Sampling(cfg_scale=2.0),
            Sampling(temperature=0.7, top_k=20),
            Sampling(temperature=0.0, cfg_scale=3.0),
            Sampling(temperature=1.3, top_p=0.8, cfg_scale=1.5),
        ][seed % 4]
        prompt = [PROMPT, "night forest", None][seed % 3]
        return decoder.start(f"job-{seed}", self.grid, list(ORDERS)[seed // 4 % 4], prompt, sampling, seed)

    def of(self, seed: int) -> tuple[Tensor, Tensor]:
        if seed not in self.known:
            decoder = PatchDecoder(self.model, slots=1, step="native")
            canvas = self.canvas(decoder, seed)
            for patch in canvas.order.sequence(self.grid):
                decoder.decode([(canvas, patch)])
            self.known[seed] = canvas.tokens, pages(decoder, canvas)
        return self.known[seed]


def pages(decoder: PatchDecoder, canvas: Canvas) -> Tensor:
    """All states of a canvas in the pool."""
    keys = [(canvas.key, patch, row) for patch in canvas.grid for row in range(canvas.branches)]
    return decoder.pool.storage[:, [decoder.pool._pages[key] for key in keys]]


@pytest.fixture(scope="module")
def alone(model: Model) -> Alone:
    return Alone(model)


@native_only
@settings(max_examples=25, deadline=None)  # numbers of 16 jobs; any one row that depends on its mates fails at once
@given(seeds=st.lists(st.integers(0, 15), min_size=1, max_size=9, unique=True))
def test_tokens_and_states_are_bit_identical_in_any_company_and_slot(alone: Alone, seeds: list[int]) -> None:
    decoder = PatchDecoder(alone.model, slots=9, step="native")
    canvases = [alone.canvas(decoder, seed) for seed in seeds]
    for patches in zip(*(c.order.sequence(alone.grid) for c in canvases), strict=True):
        decoder.decode(list(zip(canvases, patches, strict=True)))
    for seed, canvas in zip(seeds, canvases, strict=True):
        tokens, states = alone.of(seed)
        assert torch.equal(canvas.tokens, tokens)
        assert torch.equal(pages(decoder, canvas), states)


@native_only
def test_known_tokens_leave_the_states_that_drawing_them_left(model: Model) -> None:
    decoder, job = half_done(model, sampling=Sampling(cfg_scale=2.0))
    m = model.config.transformer.tokens_per_patch
    drawn, *states = decoder._run([job], torch.full((1, m), -1))
    for known in (m // 2, m):
        given = torch.where(torch.arange(m) < known, drawn, -1)
        again, *replayed = decoder._run([job], given)
        assert torch.equal(again, drawn)
        assert all(torch.equal(a, b) for a, b in zip(states, replayed, strict=True))


@native_only
def test_known_tokens_are_kept_as_they_are(model: Model) -> None:
    decoder, job = half_done(model)
    m = model.config.transformer.tokens_per_patch
    known = torch.where(torch.arange(m) % 2 == 0, torch.arange(m), -1)[None]
    tokens, *_ = decoder._run([job], known)
    assert torch.equal(tokens[0, ::2], known[0, ::2])
    assert (tokens >= 0).all()


@native_only
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.0),
        Sampling(temperature=0.3, top_p=0.9),
        Sampling(top_k=1),
        Sampling(temperature=2.0, top_k=50, top_p=0.5, cfg_scale=4.0),
        Sampling(top_p=1e-6, cfg_scale=0.5),
    ],
    ids=str,
)
def test_tokens_are_drawn_from_logits_as_sampling_draws_them(model: Model, sampling: Sampling) -> None:
    """320 draws; native weights have 24 bits, so one of them differs with odds below 1 to 1,000."""
    decoder, job = half_done(model)
    m, n = model.config.transformer.tokens_per_patch, 20
    context = decoder._context([job] * n)
    noise = torch.rand(n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    trace = torch.empty(n, m, model.config.tokenizer.codebook_size)
    params = SamplingRows([sampling] * n, CPU)
    drawn, *_ = NativeSteps(model.transformer)(context, params, noise, torch.full((n, m), -1), trace)
    for step in range(m):
        assert torch.equal(draw(trace[:, step], noise[:, step], params), drawn[:, step])


@native_only
def test_a_codebook_that_fills_no_whole_panel_draws_only_its_own_tokens(model: Model) -> None:
    """Logits beyond the last token are zero and would often win over these."""
    decoder, job = half_done(model)
    short = Transformer(model.config)
    short.load_state_dict(model.transformer.state_dict())
    short.codebook_size -= 3
    for name in ("token", "head"):
        setattr(short, name, torch.nn.Parameter(getattr(short, name)[:-3] - (10 if name == "head" else 0)))
    short.level_features = short.level_features[:-3]
    m = model.config.transformer.tokens_per_patch
    context = decoder._context([job])
    noise = torch.rand(1, m, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    params = SamplingRows([Sampling(temperature=5.0)], CPU)
    drawn, *_ = NativeSteps(short)(context, params, noise, torch.full((1, m), -1))
    assert drawn.max() < short.codebook_size


def test_without_a_compiler_pytorch_draws_and_one_line_says_so(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    decoder = PatchDecoder(model, step="auto")
    assert [r.getMessage() for r in caplog.records if "no C++ compiler (no-such-compiler)" in r.getMessage()]
    assert len(caplog.records) == 1
    canvas = decoder.start("job", Grid(1, 1, 2, model.config.patch_px), "zeta", PROMPT, Sampling(), 1)
    assert len(list(continue_canvas(decoder, canvas))) == 2
    with pytest.raises(ValueError, match="native step is not available: no C"):
        PatchDecoder(model, step="native")


def test_a_compiler_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho unknown option >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(UnavailableError, match="failed: unknown option"):
        build.load()


def test_a_processor_without_avx2_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(ValueError, match="no AVX2"):
        choose("native", model.transformer)
    assert choose("auto", model.transformer) is None


def test_torch_is_taken_when_asked_for_and_other_words_are_refused(model: Model) -> None:
    assert choose("torch", model.transformer) is None
    with pytest.raises(ValueError, match="step is 'fast'"):
        PatchDecoder(model, step="fast")


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A compiler that has been at work before; the file in which it notes each call."""
    built, calls, compiler = tmp_path / "built", tmp_path / "calls", tmp_path / "compiler"
    shutil.copy(build.load()._name, built)
    compiler.write_text(f"""#!/bin/sh
echo again >> {calls}
while [ "$1" != -o ]; do shift; done
cp {built} "$2"
""")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    return calls


@native_only
def test_the_library_is_built_once_and_kept(
    quick_compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for _ in range(2):
        assert build.load().decode
    assert quick_compiler.read_text() == "again\n"
    assert [path.name for path in (tmp_path / "cache" / "nuwa").iterdir()] == [build._name()]


@native_only
def test_a_home_that_cannot_be_written_is_no_obstacle(
    quick_compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "built"))  # a file
    assert build.load().decode
    assert quick_compiler.exists()


@native_only
def test_a_library_built_ahead_needs_no_compiler(
    quick_compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = shutil.copy(build.SOURCE, tmp_path)
    monkeypatch.setattr(build, "SOURCE", Path(source))
    assert build.build(tmp_path) == tmp_path / build._name()
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert build.load().decode
