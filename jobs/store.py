"""Where finished pictures are kept until their time to live ends: ResultStore, and a folder that keeps its promises.

Workers write results, gateways read them; on one machine, or on several that share the folder. Calls block:
asynchronous callers use a thread.
"""

import os
import re
import tempfile
import time
from pathlib import Path
from typing import Protocol

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SUFFIX = ".result"


class ResultStore(Protocol):
    """Finished pictures by job id. Every method raises ValueError for an id that could not be a job's."""

    def put(self, job_id: str, data: bytes) -> None:
        """Keep a result, all of it or nothing, also through a loss of power; an earlier one is replaced."""

    def get(self, job_id: str) -> bytes | None:
        """A result, or None where there is none."""

    def delete(self, job_id: str) -> None:
        """Forget a result; one that is not there is no error."""

    def purge(self, older_than_s: float) -> int:
        """Forget results that were put longer ago than this; how many there were."""


def check_job_id(job_id: str) -> str:
    """Letters, digits, - and _, at most 64: nothing that a file system or a URL reads as more than a name."""
    if _JOB_ID.fullmatch(job_id) is None:
        raise ValueError("not a job id")
    return job_id


class FolderStore:
    """A ResultStore of one file per job. The folder is made when it is first needed, readable by its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, job_id: str) -> Path:
        """Where the result of a job is, or would be."""
        return self._folder / (check_job_id(job_id) + _SUFFIX)

    def put(self, job_id: str, data: bytes) -> None:
        target = self.path(job_id)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._sync_folder()

    def get(self, job_id: str) -> bytes | None:
        try:
            return self.path(job_id).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, job_id: str) -> None:
        self.path(job_id).unlink(missing_ok=True)

    def purge(self, older_than_s: float) -> int:
        """Forgets results by age, and what an interrupted put() left."""
        oldest = time.time() - older_than_s
        count = 0
        for path in (*self._folder.glob("*" + _SUFFIX), *self._folder.glob(".new-*")):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    count += path.suffix == _SUFFIX
            except FileNotFoundError:
                continue  # another process purges the same folder
        return count

    def _sync_folder(self) -> None:
        """The new name of the file must be as safe as its bytes."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
