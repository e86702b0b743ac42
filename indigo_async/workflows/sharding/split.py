"""Divide jobs by customer, so that one worker's lists serve all jobs of a customer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import attrs

from indigo_async._exact import to_plain
from indigo_async._validation import InputCheck

__all__ = ["BUCKETS", "Shard", "bucket_of", "check_shard", "group_by_bucket", "job_ref", "part_of"]

BUCKETS = 16
"""The number of entities that hold claims. Each has the customers whose hash starts with one hexadecimal digit."""

_NEEDS_FENCE = (
    "needs a fence to purchase anything, because another run of the same jobs may be active: pass the same "
    "fence='s3://bucket/prefix', or a folder that all machines share, to all shards; or pass purchase=False"
)

_CUSTOMER_DIGITS = 8
_JOB_DIGITS = 12


def job_ref(customer_id: str, audience_name: str) -> str:
    """Return the short reference of a job, 20 hexadecimal digits.

    It starts with the customer's hash, so sorted references keep the jobs of a customer together.
    """
    customer = _digest(customer_id)[:_CUSTOMER_DIGITS]
    name = _digest(f"{customer_id}\0{audience_name}")[:_JOB_DIGITS]
    return customer + name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()  # it may not be checked yet


def bucket_of(ref: str) -> int:
    """Return the bucket that holds the claims of a job, from 0 to 15."""
    return int(ref[0], BUCKETS)


def group_by_bucket(refs: Iterable[str]) -> dict[int, list[str]]:
    """Group the references of jobs by the bucket that holds their claims."""
    groups: dict[int, list[str]] = {}
    for ref in refs:
        groups.setdefault(bucket_of(ref), []).append(ref)
    return groups


def part_of(ref: str, parts: int) -> int:
    """Return which of `parts` equal parts a job belongs to, from 0. All jobs of a customer are in one part."""
    return int(ref[:_CUSTOMER_DIGITS], 16) * parts >> 4 * _CUSTOMER_DIGITS


@attrs.frozen
class Shard:
    """One of `parts` parts of all jobs, counted from 1."""

    number: int
    parts: int

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"

    def has_customer(self, customer_id: object) -> bool:
        """Whether the jobs of a customer belong to this shard."""
        return part_of(_digest(str(to_plain(customer_id))), self.parts) == self.number - 1


def check_shard(check: InputCheck, shard: object, *, may_purchase: bool, has_fence: bool) -> Shard | None:
    """Check for a shard such as `3/10`, which needs a fence if it may purchase."""
    if may_purchase and not has_fence:
        check.add("shard", _NEEDS_FENCE)
    plain = to_plain(shard)
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", plain.strip()) if isinstance(plain, str) else None
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        check.add("shard", "must be the number of a shard and how many there are, from 1/10 to 10/10 for ten")
        return None
    return Shard(int(match[1]), int(match[2]))
