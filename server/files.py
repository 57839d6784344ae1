"""Stored pictures as answers: sent from the disk, in parts where parts are asked for."""

import asyncio
import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from jobs.job import JobState, JobStatus
from server.errors import ResultGone, ResultNotReady, problem_response
from server.gateway import Gateway


class StoredFile(FileResponse):
    """Heeds Range and If-Range. A range that cannot be had is a problem document like every other error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: Message | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused = message
            if refused is None:
                await send(message)

        await super().__call__(scope, receive, send_unless_refused)
        if refused is not None:
            headers = {name.decode(): value.decode() for name, value in refused["headers"] if name == b"content-range"}
            if refused["status"] == 416:
                code, detail = "range_not_satisfiable", "The range begins beyond the end of the file."
            else:
                code, detail = "bad_request", "Range must be bytes=, then first and last byte of each part."
            answer = problem_response(Request(scope), refused["status"], code, detail, headers=headers)
            await answer(scope, receive, send)


async def result_file(gateway: Gateway, state: JobState) -> tuple[Path, os.stat_result]:
    """Where the stored result is. Raises ResultNotReady, ResultGone."""
    match state.status:
        case JobStatus.QUEUED | JobStatus.RUNNING:
            done = f"{state.patches_done} of {state.patches_total} patches are done"
            raise ResultNotReady(f"The job is {state.status.value}: {done}.")
        case JobStatus.FAILED:
            raise ResultGone(f"The job failed and has no result: {state.error}")
        case JobStatus.CANCELED:
            raise ResultGone("The job was canceled and has no result.")
        case JobStatus.SUCCEEDED:
            path = gateway.store.path(state.job.id)
            try:
                return path, await asyncio.to_thread(path.stat)
            except FileNotFoundError:
                raise no_longer_kept() from None


def no_longer_kept() -> ResultGone:
    return ResultGone("The result is no longer kept.")
