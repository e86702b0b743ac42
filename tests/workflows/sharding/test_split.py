"""Jobs are divided by customer: sorted references, buckets and parts keep the jobs of a customer together."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from indigo_async.workflows.sharding.split import BUCKETS, bucket_of, group_by_bucket, job_ref, part_of

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
