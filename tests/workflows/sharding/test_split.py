"""Jobs are divided by customer: sorted references, buckets and parts keep the jobs of a customer together."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indigo_async._validation import InputCheck
from indigo_async.errors import InvalidInputError, Problem
from indigo_async.workflows.sharding.split import (
    BUCKETS,
    Shard,
    bucket_of,
    check_shard,
    group_by_bucket,
    job_ref,
    part_of,
)

JOBS = st.sets(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=40)


def test_references_stay_the_same():
    """Ledgers and claims that run keep them."""
    assert job_ref("42", "Donors") == "73475cb431d60c0bbc0b"
    assert bucket_of("73475cb431d60c0bbc0b") == 7
    assert part_of("73475cb431d60c0bbc0b", 10) == 4


@given(JOBS)
def test_jobs_have_different_references(jobs: set[tuple[str, str]]):
    refs = {job_ref(*job) for job in jobs}
    assert len(refs) == len(jobs)
    assert all(len(ref) == 20 and int(ref, 16) >= 0 for ref in refs)


@given(JOBS)
def test_sorted_references_keep_customers_together(jobs: set[tuple[str, str]]):
    customers = [customer for customer, _ in sorted(jobs, key=lambda job: job_ref(*job))]
    assert len(list(groupby(customers))) == len(set(customers))


@given(JOBS, st.integers(1, 300))
def test_parts_are_a_partition_in_the_order_of_references(jobs: set[tuple[str, str]], parts: int):
    of_customers: dict[str, set[int]] = {}
    numbers = list[int]()
    for customer, name in sorted(jobs, key=lambda job: job_ref(*job)):
        number = part_of(job_ref(customer, name), parts)
        of_customers.setdefault(customer, set()).add(number)
        numbers.append(number)
    assert all(0 <= number < parts for number in numbers)
    assert all(len(found) == 1 for found in of_customers.values())
    assert numbers == sorted(numbers)


def test_the_first_and_the_last_customer_are_in_the_first_and_the_last_part():
    for parts in (1, 3, 10, 256):
        assert (part_of("0" * 20, parts), part_of("f" * 20, parts)) == (0, parts - 1)


@given(JOBS)
def test_buckets_are_a_partition(jobs: set[tuple[str, str]]):
    refs = sorted(job_ref(*job) for job in jobs)
    groups = group_by_bucket(refs)
    assert sorted(ref for group in groups.values() for ref in group) == refs
    for bucket, group in groups.items():
        assert bucket in range(BUCKETS)
        assert all(bucket_of(ref) == bucket for ref in group)
        assert group == sorted(group)


def test_text_that_is_not_unicode_has_a_reference():
    assert job_ref("\ud800", "Donors") == job_ref("?", "Donors")


@given(st.one_of(st.text(max_size=3), st.integers(0, 99)), st.integers(1, 30))
def test_one_shard_has_all_jobs_of_a_customer(customer: str | int, parts: int):
    shards = [Shard(number, parts) for number in range(1, parts + 1)]
    (own,) = [shard for shard in shards if shard.has_customer(customer)]
    assert own.number == part_of(job_ref(str(customer), "Donors"), parts) + 1
    assert str(own) == f"{own.number}/{parts}"


@pytest.mark.parametrize(
    ("text", "shard"), [(" 3/10 ", Shard(3, 10)), ("1/10", Shard(1, 10)), ("10/10", Shard(10, 10))]
)
def test_a_shard_is_a_number_and_how_many_there_are(text: str, shard: Shard):
    check = InputCheck()
    assert check_shard(check, text, may_purchase=True, has_fence=True) == shard
    assert check_shard(check, text, may_purchase=False, has_fence=False) == shard
    check.raise_if_invalid()


@pytest.mark.parametrize("value", ["0/10", "11/10", "3", "a3/10", "3/10b", "", 3, None])
def test_other_values_are_no_shard(value: object):
    check = InputCheck()
    assert check_shard(check, value, may_purchase=False, has_fence=False) is None
    with pytest.raises(InvalidInputError) as caught:
        check.raise_if_invalid()
    message = "must be the number of a shard and how many there are, from 1/10 to 10/10 for ten"
    assert caught.value.problems == (Problem("shard", message),)


def test_a_shard_that_may_purchase_needs_a_fence():
    check = InputCheck()
    check_shard(check, "3/10", may_purchase=True, has_fence=False)
    with pytest.raises(InvalidInputError, match=r"^shard: needs a fence to purchase anything"):
        check.raise_if_invalid()
