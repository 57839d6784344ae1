"""FolderStore: results are whole or absent, and a job id is never a path."""

import os
from pathlib import Path

import pytest

from jobs.store import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "results")


def test_a_result_comes_back_byte_for_byte(store: FolderStore) -> None:
    data = bytes(range(256)) * 1000
    assert store.get("job-1") is None
    store.put("job-1", data)
    assert store.get("job-1") == data
    assert store.path("job-1").read_bytes() == data


def test_a_later_result_replaces_an_earlier_one(store: FolderStore) -> None:
    store.put("job-1", b"first, and longer")
    store.put("job-1", b"second")
    assert store.get("job-1") == b"second"
    assert len(list(store.path("job-1").parent.iterdir())) == 1


def test_a_given_picture_and_a_result_of_one_job_are_two(store: FolderStore) -> None:
    store.put("job", b"given", "given")
    assert store.get("job") is None
    store.put("job", b"result")
    store.delete("job")
    assert store.get("job", "given") == b"given"
    assert store.purge(older_than_s=-60) == 1
    assert store.get("job", "given") is None


def test_deleting_forgets_and_may_be_repeated(store: FolderStore) -> None:
    store.put("job-1", b"data")
    store.delete("job-1")
    store.delete("job-1")
    assert store.get("job-1") is None


def test_a_put_that_fails_leaves_the_earlier_result(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("job-1", b"first")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.put("job-1", b"second")
    assert store.get("job-1") == b"first"
    assert len(list(store.path("job-1").parent.iterdir())) == 1


def test_what_is_written_bit_by_bit_is_there_at_the_end_of_the_block_alone(store: FolderStore) -> None:
    store.put("job-1", b"first")
    with store.writing("job-1") as file:
        file.write(b"sec")
        file.write(b"ond")
        assert store.get("job-1") == b"first"
    assert store.get("job-1") == b"second"
    with pytest.raises(TypeError), store.writing("job-1") as file:
        file.writelines([b"third", None])
    assert store.get("job-1") == b"second"
    assert list(store.workspace().iterdir()) == [store.path("job-1")]


def test_results_are_readable_by_their_owner_alone(store: FolderStore) -> None:
    store.put("job-1", b"data")
    path = store.path("job-1")
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        ".",
        "..",
        "../job",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "a\0b",
        "a.b",
        "-a",
        "_a",
        "a b",
        "a\n",
        "é",
        "a" * 65,
        "%2e%2e",
    ],
)
def test_what_could_not_be_a_job_id_is_refused(store: FolderStore, job_id: str) -> None:
    for refused in (store.path, store.get, store.delete, lambda name: store.put(name, b"data")):
        with pytest.raises(ValueError, match="job id"):
            refused(job_id)


def test_purging_forgets_what_is_old(store: FolderStore) -> None:
    assert store.purge(older_than_s=60) == 0
    for job_id in ("old", "new"):
        store.put(job_id, b"data")
    interrupted = store.path("old").parent / ".new-abc"
    interrupted.write_bytes(b"half")
    for path in (store.path("old"), interrupted):
        os.utime(path, (0, 0))
    assert store.purge(older_than_s=60) == 1
    assert (store.get("old"), store.get("new")) == (None, b"data")
    assert not interrupted.exists()


def test_purging_keeps_what_is_old_of_jobs_that_live(store: FolderStore) -> None:
    assert store.old(older_than_s=60) == set()
    for job_id, kind in (("waits", "given"), ("gone", "given"), ("gone", "result"), ("new", "result")):
        store.put(job_id, b"data", kind)
        if job_id != "new":
            os.utime(store.path(job_id, kind), (0, 0))
    assert store.old(older_than_s=60) == {"waits", "gone"}
    assert store.purge(older_than_s=60, keep={"waits"}) == 2
    assert (store.get("waits", "given"), store.get("gone", "given"), store.get("gone")) == (b"data", None, None)
    assert store.get("new") == b"data"


def test_a_file_that_a_writer_made_becomes_a_picture_at_once(store: FolderStore) -> None:
    path = store.unfinished()
    path.write_bytes(b"half a film")
    assert store.get("job", "webm") is None
    store.adopt(path, "job", "webm")
    assert (store.get("job", "webm"), path.exists()) == (b"half a film", False)
    assert store.unfinished().name.startswith(".new-"), "forgotten in time, as by purge()"
