"""The native step against the plain PyTorch loop, against itself in any company, and where it cannot run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from canvas.grid import Grid, Patch
from canvas.order import ORDERS
from model.canvas import Canvas
from model.generate import Model, PatchDecoder, continue_canvas
from model.loader import load
from model.native import build
from model.native.build import UnavailableError
from model.native.step import NativeSteps, choose
from model.sampling import Sampling, SamplingRows, draw, guide, patch_noise
from model.transformer import Transformer

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "tiny"
PROMPT = "snowy mountains at sunset lake"

Job = tuple[Canvas, Patch]


def available() -> str:
    """Why not, or nothing."""
    try:
        build.load(wide=False)
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


def draw_natively(
    model: Model, decoder: PatchDecoder, job: Job, noise: Tensor, sampling: Sampling | None = None
) -> tuple[Tensor, Tensor]:
    """Tokens [n, M] of the same patch once for each row of noise [n, M], and the logits [n, M, V] they came from.

    The states of the last are left in the pool.
    """
    canvas, patch = job
    keys = [(canvas.key, patch, row) for row in range(canvas.branches(patch))]
    if keys[0] not in decoder.pool:
        decoder.pool.take(keys)
    n, m = noise.shape
    slot = decoder._slot(canvas, patch, torch.full((m,), -1))
    trace = torch.empty(n, m, model.transformer.codebook_size)
    steps = NativeSteps(model.transformer)
    slots = [replace(slot, noise=noise[i], trace=trace[i], sampling=sampling or slot.sampling) for i in range(n)]
    return torch.cat([steps(decoder.pool, [one]) for one in slots]), trace


def both_ways(
    model: Model, decoder: PatchDecoder, job: Job
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Guided logits [M, V] and states [L, branches, H, M, d] of one patch by native code, and by one PyTorch pass over
    the same tokens.
    """
    transformer, m = model.transformer, model.config.transformer.tokens_per_patch
    canvas, patch = job
    noise = patch_noise(canvas.seed, *patch, m)[None]
    tokens, trace = draw_natively(model, decoder, job, noise)
    pages = [decoder.pool.page((canvas.key, patch, row)) for row in range(canvas.branches(patch))]
    states = decoder.pool.keys[:, pages].transpose(-1, -2), decoder.pool.values[:, pages]
    context = decoder._context([job], decoder.extent.max_nearby)
    hidden, keys, values = transformer.patch_pass(
        transformer.embed(tokens.repeat_interleave(2, 0), context.conditions),
        context.orders,
        lambda n, k, v: (context.keys[n], context.values[n]),
        context.mask,
    )
    logits = transformer.logits(hidden[:, :-1])
    guided = guide(logits[0], logits[1], torch.tensor(canvas.sampling.cfg_scale))
    return trace[0], guided, states, (keys[:, : canvas.branches(patch)], values[:, : canvas.branches(patch)])


@native_only
@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("order", list(ORDERS))
def test_logits_and_states_agree_with_pytorch(model: Model, order: str, distilled: bool) -> None:
    decoder, job = half_done(model, order, Sampling(cfg_scale=2.0, distilled=distilled))
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


def pages(decoder: PatchDecoder, canvas: Canvas, patches: Iterable[Patch] | None = None) -> Tensor:
    """The states of some patches of a canvas, or of all."""
    keys = [(canvas.key, patch, row) for patch in patches or canvas.grid for row in range(canvas.branches(patch))]
    return decoder.pool.storage[:, [decoder.pool.page(key) for key in keys]]


@native_only
@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 7, 9, 13, 17])
def test_any_number_of_rows_leaves_the_states_of_each_alone(model: Model, rows: int) -> None:
    """Rows are multiplied in blocks, whose heights depend on how many there are."""
    decoder = PatchDecoder(model, slots=rows, step="native")
    grid, patches = Grid(1, 1, 2, model.config.patch_px), [Patch(0, 0, 0), Patch(0, 0, 1)]
    kept = []
    for together in (1, rows):
        canvases = [decoder.start(f"{together} {n}", grid, "zeta", PROMPT, Sampling(), n) for n in range(rows)]
        for patch in patches:
            for first in range(0, rows, together):
                decoder.decode([(canvas, patch) for canvas in canvases[first : first + together]])
        kept.append(torch.stack([pages(decoder, canvas) for canvas in canvases]))
    assert torch.equal(*kept)


@native_only
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_share_out_a_batch_and_change_nothing(model: Model, threads: int) -> None:
    grid = Grid(1, 1, 1, model.config.patch_px)

    def drawn(threads: int) -> tuple[list[list[int]], Tensor]:
        decoder = PatchDecoder(model, slots=7, step="native", threads=threads)
        canvases = [decoder.start(f"job {n}", grid, "zeta", PROMPT, Sampling(cfg_scale=2.0), n) for n in range(7)]
        tokens = decoder.decode([(canvas, Patch(0, 0, 0)) for canvas in canvases])
        return [t.tolist() for t in tokens], torch.stack([pages(decoder, canvas) for canvas in canvases])

    (alone, states), (shared, others) = drawn(1), drawn(threads)
    assert shared == alone
    assert torch.equal(others, states)


@native_only
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_known_tokens_leave_the_states_that_drawing_them_left(model: Model, share: float) -> None:
    """Some known take the steps, all known take one pass."""
    decoder, (canvas, patch) = half_done(model, sampling=Sampling(cfg_scale=2.0))
    m = model.config.transformer.tokens_per_patch
    drawn = decoder._run([(canvas, patch)], torch.full((1, m), -1))
    states = pages(decoder, canvas, [patch])
    decoder.remove(canvas, patch)
    decoder.pool.storage[:, decoder.pool._free[-2:]] = float("nan")  # what is left of others does not matter
    again = decoder._run([(canvas, patch)], torch.where(torch.arange(m) < share * m, drawn, -1))
    assert torch.equal(again, drawn)
    assert torch.equal(pages(decoder, canvas, [patch]), states)


@native_only
def test_known_tokens_are_kept_as_they_are(model: Model) -> None:
    decoder, job = half_done(model)
    m = model.config.transformer.tokens_per_patch
    known = torch.where(torch.arange(m) % 2 == 0, torch.arange(m), -1)[None]
    tokens = decoder._run([job], known)
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
        Sampling(min_p=0.3, cfg_scale=2.0),
        Sampling(min_p=0.02, top_k=40, top_p=0.9, temperature=1.5),
    ],
    ids=str,
)
def test_tokens_are_drawn_from_logits_as_sampling_draws_them(model: Model, sampling: Sampling) -> None:
    """320 draws; native weights have 24 bits, so one of them differs with odds below 1 to 1,000."""
    decoder, job = half_done(model)
    m, n = model.config.transformer.tokens_per_patch, 20
    noise = torch.rand(n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn, trace = draw_natively(model, decoder, job, noise, sampling)
    params = SamplingRows([sampling] * n, torch.device("cpu"))
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
    noise = torch.rand(1, m, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn, _ = draw_natively(replace(model, transformer=short), decoder, job, noise, Sampling(temperature=5.0))
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
        build.load(wide=False)


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
    shutil.copy(build.load(wide=False)._name, built)
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
        assert build.load(wide=False).decode
    assert quick_compiler.read_text() == "again\n"
    assert [path.name for path in (tmp_path / "cache" / "nuwa").iterdir()] == [build._name(wide=False)]


@native_only
def test_a_home_that_cannot_be_written_is_no_obstacle(
    quick_compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "built"))  # a file
    assert build.load(wide=False).decode
    assert quick_compiler.exists()


@native_only
def test_a_library_built_ahead_needs_no_compiler(
    quick_compiler: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "HERE", tmp_path)
    for name in ("vectors.h", "tokens.cpp", "pixels.cpp"):
        (tmp_path / name).write_text("#error an update that came while this process ran")
    for wide in (False, True):
        assert build.build(tmp_path, wide) == tmp_path / build._name(wide)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert build.load(wide=False).decode


DRAW = """
import hashlib
import sys
from pathlib import Path
import torch
from canvas.grid import Grid
from model.generate import PatchDecoder, continue_canvas
from model.loader import load
from model.sampling import Sampling

torch.set_num_threads(1)
decoder = PatchDecoder(load(Path(sys.argv[1])), step="native")
canvas = decoder.start("job", Grid(1, 2, 2, 64), "zeta", sys.argv[2], Sampling(top_p=0.95, cfg_scale=4.0), 3)
for _ in continue_canvas(decoder, canvas):
    pass
print(canvas.tokens.tolist())
print(hashlib.sha256(decoder.pixels.decode(canvas.tokens).numpy().tobytes()).hexdigest())
"""


@native_only
def test_a_processor_of_another_kind_draws_the_same_tokens_and_pixels() -> None:
    """As far as one machine can tell: PyTorch and its libraries are told to use older instructions. Where there is
    AVX-512 the native code is another build, too.
    """

    def drawn(**older: str) -> str:
        prompt = "snowy mountains at sunset with a lake"
        command = [sys.executable, "-c", DRAW, str(CHECKPOINT), prompt]
        return subprocess.run(command, env={**os.environ, **older}, capture_output=True, text=True, check=True).stdout

    older = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    assert drawn(**older) == drawn()
