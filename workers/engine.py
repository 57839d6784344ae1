"""What a worker needs from whatever makes patches: the protocol every engine keeps.

TorchEngine (torch_engine.py) runs the model; TileEngine (tile_engine.py) paints plain tiles without one. An engine
knows jobs only by id, and holds for each: its tokens so far and its pages in the pool. A call that raises has changed
nothing: the worker repeats it, for each patch alone, before it gives a job up.

Calls come from two threads, one at a time from each: render(), refine() and forget() from that of pixels, all others
from that of tokens. Pixels are asked for only once all tokens that they are painted from are there, and tokens that are
there never change, so a call of either thread takes nothing from one of the other.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from canvas.grid import Patch
from canvas.plan import Plan
from jobs.job import Job, ModelInfo
from workers.known import KnownPixels

Pixels = NDArray[np.uint8]  # [patch_px, patch_px, 3], RGB


class Engine(Protocol):
    model: ModelInfo
    slots: int  # most patches decoded together
    pages: int  # the pool's capacity; start() takes what a job may need at most

    def pages_needed(self, job: Job, plan: Plan) -> int:
        """Most pages of the pool that this job can hold at once, known before it starts (canvas.plan.pages_needed)."""

    def start(self, job: Job, plan: Plan, known: KnownPixels | None = None) -> None:
        """Learn of a job, its first phase entered: its prompt becomes text states.

        known: the pixels of the plan's given patches, and perhaps parts of others, which are drawn to fit them.
        Raises ValueError when it can never fit.
        """

    def sketch(self, job_id: str) -> Pixels | None:
        """The whole canvas of a job as it begins, in few pixels; None where nothing is sketched or pixels are given."""

    def enter(self, job_id: str, phase: int) -> None:
        """Go on to that phase of the job's plan, counted from 0. None of its patches is in the pool."""

    def decode(self, batch: Sequence[tuple[str, Patch]]) -> list[bytes]:
        """Draw the tokens of up to `slots` ready patches (job id, patch), of any jobs; add their states to the pool.

        Returns each patch's tokens, 2 bytes each, little endian, in the order of the batch. The tokens of a patch
        depend on its job alone, never on what else is in the batch.
        """

    def prefill(self, batch: Sequence[tuple[str, Patch, bytes | None]]) -> None:
        """Put up to `slots` patches with known tokens into the pool: the same states that decode() left there.

        None for tokens that the engine knows itself: of given patches, and of those that it has had before.
        """

    def render(self, job_id: str, patch: Patch) -> Pixels:
        """First pixels of a patch that was just drawn, from its tokens and those around it.

        Only patches that exist whenever it is drawn are looked at (Plan.around), so that the pixels do not depend on
        what else is done. Known pixels are only looked at; it is the caller who puts them in their place.
        """

    def refine(self, job_id: str, patches: Sequence[Patch]) -> list[Pixels]:
        """Final pixels of each of these patches, from all patches that touch it, which must exist.

        They do not depend on which patches are asked for together; those of one block (scheduler.py) take less time so.
        """

    def forget(self, job_id: str, frame: int) -> None:
        """A frame's pixels are final: its tokens are asked for no more. Its pages stay until remove()."""

    def remove(self, job_id: str, patches: Sequence[Patch]) -> None:
        """Give the pages of these patches back: no later patch will look at them."""

    def finish(self, job_id: str) -> None:
        """Forget a job and everything held for it, whether it is complete or not. Unknown ids are ignored.

        A render() or refine() of it that is under way goes on undisturbed; later ones raise KeyError.
        """
