"""Idempotency-Key: a request that is sent again gets the job that it got before, instead of another one.

The id of the job (or group) follows from key and request, so that whoever sends both again means the same job; and the
broker knows which job holds the key. A key lasts as long as its job; one that was refused is not used up.
"""

import hashlib
import json
import re
from dataclasses import dataclass

from jobs.broker.rules import KEY_REUSED
from jobs.errors import IdempotencyKeyReused, JobNotFound
from jobs.job import Job
from jobs.request import GenerateRequest
from server.errors import InvalidRequest
from server.gateway import Gateway
from server.uploads import Files
from server.wording import field_error

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotency-Replayed": "true"}
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class Claim:
    """What a key stands for (name), the digest of the request that came with it, and the id for its job or group."""

    name: str
    digest: str
    id: str


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
    name, own = hashlib.sha256(b"idempotency key " + key.encode()).hexdigest()[:32], digest.hexdigest()
    return Claim(name, own, hashlib.sha256(f"{name} {own}".encode()).hexdigest()[:32])


async def made_before(gateway: Gateway, claimed: Claim) -> Job | None:
    """The job, or the first candidate of the group, that this request got before.

    Raises IdempotencyKeyReused when another request had the key; BrokerUnavailable.
    """
    holder = await gateway.broker.claimed(claimed.name)
    if holder is None:
        return None
    try:
        job = (await gateway.broker.state(holder)).job
    except JobNotFound:
        return None
    if job.digest != claimed.digest:
        raise IdempotencyKeyReused(KEY_REUSED)
    return job
