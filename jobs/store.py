"""Where pictures are kept until their time to live ends: ResultStore, and a folder that keeps its promises.

Workers write results and gateways read them; gateways write the pictures that callers give, and workers read those; on
one machine, or on several that share the folder. Calls block: asynchronous callers use a thread.
"""

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Literal, Protocol, get_args

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

# Of a job's files: the finished picture (a film: MP4), the picture that its caller gave, and the mask of what of it is
# drawn anew; of a film also MP4 in fragments, which grows while it is drawn, and the finished film in other formats.
Kind = Literal["result", "given", "mask", "film", "webm", "webp", "gif"]


class ResultStore(Protocol):
    """Pictures by job id and kind. Every method raises ValueError for an id that could not be a job's."""

    def path(self, job_id: str, kind: Kind = "result") -> Path:
        """Where a picture of a job is, or would be. A file that is there is whole and stays as it is."""

    def writing(self, job_id: str, kind: Kind = "result") -> AbstractContextManager[IO[bytes]]:
        """A file that becomes the picture when the block ends, and is forgotten when it raises.

        All of it or nothing, also through a loss of power; an earlier picture is replaced.
        """

    def workspace(self) -> Path:
        """A folder, made when first needed, with room for pictures that are not finished."""

    def unfinished(self) -> Path:
        """A new empty file for writers that want a path; forgotten in time unless adopt() takes it."""

    def adopt(self, path: Path, job_id: str, kind: Kind) -> None:
        """Make a file from unfinished() a picture of a job, as whole and safe as by writing()."""

    def put(self, job_id: str, data: bytes, kind: Kind = "result") -> None:
        """Keep a picture that is in memory, as by writing()."""

    def get(self, job_id: str, kind: Kind = "result") -> bytes | None:
        """A picture, or None where there is none."""

    def delete(self, job_id: str, kind: Kind = "result") -> None:
        """Forget a picture; one that is not there is no error."""

    def old(self, older_than_s: float) -> set[str]:
        """Ids of jobs with a picture that was put longer ago than this."""

    def purge(self, older_than_s: float, keep: Container[str] = ()) -> int:
        """Forget pictures that were put longer ago than this, but for those of the jobs to keep; how many."""


def check_job_id(job_id: str) -> str:
    """Letters, digits, - and _, at most 64: nothing that a file system or a URL reads as more than a name."""
    if _JOB_ID.fullmatch(job_id) is None:
        raise ValueError("not a job id")
    return job_id


class FolderStore:
    """A ResultStore of one file per picture. The folder is made when first needed, readable by its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job_id: str, kind: Kind = "result") -> Path:
        return self._folder / f"{check_job_id(job_id)}.{kind}"

    def workspace(self) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder

    def unfinished(self) -> Path:
        handle, name = tempfile.mkstemp(dir=self.workspace(), prefix=".new-")
        os.close(handle)
        return Path(name)

    def adopt(self, path: Path, job_id: str, kind: Kind) -> None:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(path, self.path(job_id, kind))
        self._sync_folder()

    def put(self, job_id: str, data: bytes, kind: Kind = "result") -> None:
        with self.writing(job_id, kind) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, job_id: str, kind: Kind = "result") -> Iterator[IO[bytes]]:
        target = self.path(job_id, kind)
        handle, name = tempfile.mkstemp(dir=self.workspace(), prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._sync_folder()

    def get(self, job_id: str, kind: Kind = "result") -> bytes | None:
        try:
            return self.path(job_id, kind).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, job_id: str, kind: Kind = "result") -> None:
        self.path(job_id, kind).unlink(missing_ok=True)

    def old(self, older_than_s: float) -> set[str]:
        return {path.stem for path in self._older(self._pictures(), older_than_s)}

    def purge(self, older_than_s: float, keep: Container[str] = ()) -> int:
        """Forgets pictures by age, and what an interrupted writing() left."""
        for path in self._older(self._folder.glob(".new-*"), older_than_s):
            path.unlink(missing_ok=True)
        gone = [path for path in self._older(self._pictures(), older_than_s) if path.stem not in keep]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def _pictures(self) -> Iterator[Path]:
        return (path for kind in get_args(Kind) for path in self._folder.glob(f"*.{kind}"))

    def _older(self, paths: Iterable[Path], older_than_s: float) -> list[Path]:
        oldest, found = time.time() - older_than_s, list[Path]()
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # another process purges the same folder
                if path.stat().st_mtime < oldest:
                    found.append(path)
        return found

    def _sync_folder(self) -> None:
        """The new name of the file must be as safe as its bytes."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
