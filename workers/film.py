"""Film: the frames of a job on their way into files: one that grows and plays at once, and one of each format."""

import contextlib
import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from jobs.job import Job, ModelInfo
from jobs.store import Kind, ResultStore
from workers.images import how_made
from workers.video import Container, FilmStream, FilmWriter, Frame

# What is made of every film. The formats cost a second core some 0.1 s for a frame of 256 x 256, most of it for GIF.
KINDS: dict[Container, Kind] = {"mp4": "result", "webm": "webm", "webp": "webp", "gif": "gif"}
GIF_MAX_FPS = 50  # faster ones are shown as slow ones by every browser


class Film:
    """Frames in, in turn and once each; at any time at most two are in memory, beside what encoders look ahead.

    Equal frames give equal bytes, so a worker that takes a job over adds all frames again, from the first one: what an
    earlier worker stored of the growing film stays as it is, and is not stored twice.
    """

    def __init__(self, job: Job, model: ModelInfo, store: ResultStore) -> None:
        request = job.request
        assert request.fps is not None, "fixed when the job was made"
        self._store, self._id = store, job.id
        self._digest = hashlib.sha256()
        made = how_made(job, model)
        info = {"title": request.prompt or "nuwa", "comment": json.dumps(made)}
        shape = request.width, request.height, request.fps
        store.workspace()
        self._growing = os.open(store.path(job.id, "film"), os.O_RDWR | os.O_CREAT, 0o600)
        self._stored, self._is_cut = 0, False
        self._stream = FilmStream(*shape, info)
        self._files: dict[Container, Path] = {}
        self._writers: list[FilmWriter] = []
        for container in KINDS:
            if container != "gif" or request.fps <= GIF_MAX_FPS:
                self._files[container] = store.unfinished()
                self._writers.append(FilmWriter(self._files[container], *shape, container, info))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="film")
        self._writing: Future[None] | None = None

    def add(self, frame: Frame) -> str:
        """The next frame, [height, width, 3], into all files; the sha256 of its pixels. Raises OSError for a full disk.

        When this returns, the growing film holds the frame before, and this one's file formats are being written.
        """
        self._wait()
        self._keep(self._stream.add(frame))
        self._writing = self._thread.submit(self._add_to_files, frame)
        self._digest.update(frame.tobytes())
        return hashlib.sha256(frame.tobytes()).hexdigest()

    def finish(self) -> str:
        """The files into the store, all frames in; the sha256 of all pixels. Raises ValueError without a frame."""
        self._wait()
        if not self._stored:
            raise ValueError("a film needs at least one frame")
        self.cut()
        os.ftruncate(self._growing, self._stored)  # nothing of a longer one that other code once stored
        os.fsync(self._growing)
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        while self._files:
            container, path = self._files.popitem()
            self._store.adopt(path, self._id, KINDS[container])
        return self._digest.hexdigest()

    def cut(self) -> None:
        """No frame will follow: the growing film gets the one that was added last."""
        if self._stored and not self._is_cut:
            self._is_cut = True
            self._keep(self._stream.close())

    def close(self) -> None:
        """Forget what is half made. The growing film stays as it is."""
        self._thread.shutdown()
        for writer in self._writers:
            with contextlib.suppress(ValueError, OSError):
                writer.close()
        for path in self._files.values():
            path.unlink(missing_ok=True)
        self._writers.clear()
        self._files.clear()
        if self._growing >= 0:
            os.close(self._growing)
            self._growing = -1

    def _add_to_files(self, frame: Frame) -> None:
        for writer in self._writers:
            writer.add(frame)

    def _wait(self) -> None:
        """Until the files have the frame that was added last. Raises what that raised."""
        if self._writing is not None:
            self._writing.result()

    def _keep(self, data: bytes) -> None:
        """The next bytes of the growing film, unless they are there."""
        if os.pread(self._growing, len(data), self._stored) != data:
            written = 0
            while written < len(data):
                written += os.pwrite(self._growing, data[written:], self._stored + written)
        self._stored += len(data)
