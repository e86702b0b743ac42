"""Divide jobs by customer, so that one worker's lists serve all jobs of a customer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["BUCKETS", "bucket_of", "group_by_bucket", "job_ref", "part_of"]

BUCKETS = 16
"""The number of entities that hold claims. Each has the customers whose hash starts with one hexadecimal digit."""

_CUSTOMER_DIGITS = 8
_JOB_DIGITS = 12


def job_ref(customer_id: str, audience_name: str) -> str:
    """Return the short reference of a job, 20 hexadecimal digits.

    It starts with the customer's hash, so sorted references keep the jobs of a customer together.
    """
    customer = hashlib.sha256(customer_id.encode()).hexdigest()[:_CUSTOMER_DIGITS]
    name = hashlib.sha256(f"{customer_id}\0{audience_name}".encode()).hexdigest()[:_JOB_DIGITS]
    return customer + name


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
