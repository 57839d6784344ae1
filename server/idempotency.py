"""Idempotency-Key: a request that is sent again gets the job that it got before, instead of another one.

Nothing is kept for it: the id of the job (or group) follows from the key, the job carries the digest of its request,
and the broker keeps a job that is already there. A key lasts as long as its job; one that was refused is not used up.
"""

import hashlib
import json
import re
from dataclasses import dataclass

from jobs.errors import JobNotFound
from jobs.job import Job, candidate_id
from jobs.request import GenerateRequest
from server.errors import IdempotencyKeyReused, InvalidRequest
from server.gateway import Gateway
from server.uploads import Files
from server.wording import field_error

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Claim:
    """What a key stands for: the id that its job or group has, and the digest of the request that may have it."""

    id: str
    digest: str


def claim(key: str, wanted: GenerateRequest, files: Files) -> Claim | None:
    """None without a key. Raises InvalidRequest for one that is no key."""
    if not key:
        return None
    if _KEY.fullmatch(key) is None:
        raise InvalidRequest(field_error(HEADER, "must be 1 to 255 visible ASCII characters"))
    asked = json.dumps(wanted.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    digest = hashlib.sha256(asked.encode())
    for upload in (files.image, files.mask):
        if upload is not None:
            digest.update(b"\0" + upload.field.encode() + b"\0" + upload.data)
    return Claim(hashlib.sha256(b"idempotency key " + key.encode()).hexdigest()[:32], digest.hexdigest())


async def made_before(gateway: Gateway, claimed: Claim) -> Job | None:
    """The job, or the first candidate of the group, that this request got before.

    Raises IdempotencyKeyReused when another request had the key; BrokerUnavailable.
    """
    for job_id in (claimed.id, candidate_id(claimed.id, 0)):
        try:
            job = (await gateway.broker.state(job_id)).job
        except JobNotFound:
            continue
        if job.digest != claimed.digest:
            raise IdempotencyKeyReused("This Idempotency-Key came with another request before; take a new one.")
        return job
    return None
