"""The engine that runs the model: jobs' patches in, tokens and pixels out, all on one device."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from canvas.grid import Patch
from canvas.plan import Plan, pages_needed
from jobs.job import Job, ModelInfo
from model.canvas import Canvas
from model.generate import Model, PatchDecoder
from model.loader import load
from model.pixels import final_pixels, first_pixels, sketch_pixels
from model.sampling import Sampling
from workers.engine import Pixels
from workers.known import KnownPixels


class TorchEngine:
    """Loads the weights once and keeps every job's canvas and pages (protocol: workers/engine.py).

    weights: folder as model/loader.py reads it.  slots, pages: see Engine.  threads: of the CPU, that PyTorch uses.
    drawing: threads among which native code shares out the patches of a batch.
    Raises model.loader.WeightsError when the folder does not hold a model.
    """

    def __init__(
        self, weights: Path, slots: int, pages: int, device: str = "auto", threads: int = 1, drawing: int = 1
    ) -> None:
        torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        loaded = load(weights, device)
        self.slots = slots
        self.pages = pages
        self._decoder = PatchDecoder(loaded, slots, pages, threads=drawing)
        self.model = model_info(loaded, self._decoder)
        self._canvases: dict[str, Canvas] = {}
        self._held: dict[str, set[Patch]] = {}  # patches in the pool

    def pages_needed(self, job: Job, plan: Plan) -> int:
        return pages_needed(plan, self.slots, _sampling(job).branches)

    def start(self, job: Job, plan: Plan, known: KnownPixels | None = None) -> None:
        if (needed := self.pages_needed(job, plan)) > self.pages:
            raise ValueError(f"needs {needed} pages of a pool of {self.pages}")
        self._canvases[job.id] = self._decoder.start_plan(
            job.id, plan, job.request.prompt, _sampling(job), job.seed, known
        )
        self._held[job.id] = set()

    def sketch(self, job_id: str) -> Pixels | None:
        pixels = sketch_pixels(self._decoder, self._canvases[job_id])
        return None if pixels is None else _to_uint8(pixels)

    def enter(self, job_id: str, phase: int) -> None:
        self._canvases[job_id].phase = phase

    def decode(self, batch: Sequence[tuple[str, Patch]]) -> list[bytes]:
        drawn = self._decoder.decode([(self._canvases[job_id], patch) for job_id, patch in batch])
        self._hold(batch)
        return [tokens.cpu().numpy().astype("<u2").tobytes() for tokens in drawn]

    def prefill(self, batch: Sequence[tuple[str, Patch, bytes | None]]) -> None:
        known = []
        for job_id, patch, logged in batch:
            canvas = self._canvases[job_id]
            if logged is None:
                tokens = self._decoder.tokens(canvas, patch)
            else:
                tokens = torch.from_numpy(np.frombuffer(logged, "<u2").astype(np.int64))
            known.append((canvas, patch, tokens))
        self._decoder.prefill(known)
        self._hold([(job_id, patch) for job_id, patch, _ in batch])

    def render(self, job_id: str, patch: Patch) -> Pixels:
        return _to_uint8(first_pixels(self._decoder, self._canvases[job_id], patch))

    def refine(self, job_id: str, patches: Sequence[Patch]) -> list[Pixels]:
        return [_to_uint8(pixels) for pixels in final_pixels(self._decoder, self._canvases[job_id], patches)]

    def forget(self, job_id: str, frame: int) -> None:
        self._canvases[job_id].forget(frame)

    def remove(self, job_id: str, patches: Sequence[Patch]) -> None:
        for patch in patches:
            self._decoder.remove(self._canvases[job_id], patch)
            self._held[job_id].discard(patch)

    def finish(self, job_id: str) -> None:
        canvas = self._canvases.pop(job_id, None)
        if canvas is not None:
            for patch in self._held.pop(job_id):
                self._decoder.remove(canvas, patch)

    def _hold(self, batch: Sequence[tuple[str, Patch]]) -> None:
        for job_id, patch in batch:
            self._held[job_id].add(patch)


def _to_uint8(pixels: Tensor) -> Pixels:
    """[3, px, px] in [-1, 1] -> [px, px, 3]."""
    scaled = ((pixels + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).contiguous().cpu().numpy()


def model_info(model: Model, decoder: PatchDecoder) -> ModelInfo:
    """What a worker announces of its weights and of what it draws with."""
    config = model.config
    parts = [part for part in (model.tokenizer, model.transformer, model.sketcher) if part is not None]
    own = {id(p): p.numel() for part in parts for p in part.parameters()}  # the sentence encoder is shared
    return ModelInfo(
        name=config.name,
        version=model.version,
        description=config.description,
        patch_px=config.patch_px,
        patch_tokens=config.transformer.patch_tokens,
        codebook_size=config.tokenizer.codebook_size,
        extent=config.transformer.extent,
        orders=config.transformer.orders,
        parameters=sum(own.values()),
        licence=config.licence,
        slots=decoder.slots,
        pool_pages=decoder.pool.storage.shape[1],
        page_bytes=decoder.pool.page_bytes,
        guided_pages=2,
        distilled_scale=config.transformer.distilled_scale,
    )


def _sampling(job: Job) -> Sampling:
    """The job's sampling; without a prompt there is nothing to be guided by."""
    asked = job.request.sampling
    return Sampling(
        temperature=asked.temperature,
        top_k=asked.top_k,
        top_p=asked.top_p,
        min_p=asked.min_p,
        later_min_p=asked.later_min_p,
        cfg_scale=asked.cfg_scale if job.request.prompt is not None else 1.0,
        distilled=asked.distilled and not job.is_film,
    )
