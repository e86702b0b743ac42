"""Claims on jobs: one holder for each job at a time, and a memory of who finished it."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from indigo_async.temporal.converter import from_plain, to_plain
from indigo_async.workflows.sharding import claims as claims_module
from indigo_async.workflows.sharding.claims import ClaimReply, Claims

HOLDERS = st.sampled_from("1234")
JOBS = st.lists(st.sampled_from("abcdefgh"), unique=True)


class JobsOfHolders(RuleBasedStateMachine):
    """Holders run the jobs that they could claim. A holder that has ended may still send a claim late."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = Claims()
        self.running: dict[str, set[str]] = defaultdict(set)
        self.finished: dict[str, str] = {}
        self.ended: set[str] = set()

    @rule(holder=HOLDERS, jobs=JOBS, knows_who_ended=st.booleans())
    def claim(self, holder: str, jobs: list[str], knows_who_ended: bool) -> None:
        gone = sorted(self.ended - {holder}) if knows_who_ended else []
        reply = self.claims.claim(holder, jobs, gone=gone)
        assert self.claims.claim(holder, jobs) == reply, "an update whose outcome was unknown is sent again"
        lost = {job for theirs in reply.held.values() for job in theirs}
        assert holder not in reply.held
        for other, theirs in reply.held.items():
            assert all(self.claims.is_held_by(other, job) for job in theirs)
            assert other not in gone
        for job in jobs:
            assert self.claims.is_held_by(holder, job) == (job not in lost)
            if job not in lost and job in self.finished:
                assert job in reply.finished[self.finished[job]]
        if holder not in self.ended:
            self.running[holder] |= set(jobs) - lost

    @rule(holder=HOLDERS, jobs=JOBS, times=st.integers(1, 2))
    def release(self, holder: str, jobs: list[str], times: int) -> None:
        if holder in self.ended:
            return
        done = [job for job in jobs if job in self.running[holder]]
        for _ in range(times):
            self.claims.release(holder, done)
        self.running[holder] = set()
        self.finished |= dict.fromkeys(done, holder)
        assert not any(self.claims.is_held_by(holder, job) for job in "abcdefgh")

    @rule(holder=HOLDERS)
    def end_without_releasing(self, holder: str) -> None:
        self.ended.add(holder)
        self.running[holder] = set()

    @rule()
    def continue_as_new(self) -> None:
        before = self.claims
        self.claims = from_plain(to_plain(before), Claims)
        assert self.claims == before

    @invariant()
    def no_job_runs_twice(self) -> None:
        running = [job for jobs in self.running.values() for job in jobs]
        assert len(running) == len(set(running))
        for holder, jobs in self.running.items():
            assert all(self.claims.is_held_by(holder, job) for job in jobs)

    @invariant()
    def each_job_is_held_and_finished_once(self) -> None:
        for by_holder in (self.claims.held, self.claims.finished):
            jobs = [job for theirs in by_holder.values() for job in theirs]
            assert len(jobs) == len(set(jobs))
            assert all(by_holder.values()), "no holder without jobs is kept"
        for holder, theirs in self.claims.finished.items():
            assert all(self.finished[job] == holder for job in theirs)


TestJobsOfHolders = JobsOfHolders.TestCase


def test_only_jobs_of_holders_that_are_gone_are_taken():
    claims = Claims()
    assert claims.claim("1", ["a", "b"]) == ClaimReply(held={}, finished={})
    assert claims.claim("2", ["c"], gone=["2", "unknown"]) == ClaimReply(held={}, finished={})
    assert claims.claim("3", ["a", "b", "c", "d"], gone=["1"]) == ClaimReply(held={"2": ["c"]}, finished={})
    assert claims.held == {"2": ["c"], "3": ["a", "b", "d"]}


def test_a_holder_that_calls_itself_gone_keeps_its_jobs():
    claims = Claims()
    claims.claim("1", ["a"])
    claims.claim("1", ["b"], gone=["1"])
    assert claims.held == {"1": ["a", "b"]}


def test_a_holder_that_releases_in_rounds_has_finished_all_of_them():
    claims = Claims()
    claims.claim("1", ["a", "b", "c"])
    claims.release("1", ["a"])
    claims.claim("1", ["b", "c"])
    claims.release("1", ["b"])
    claims.claim("2", ["c"])
    claims.release("2", ["c"])
    assert claims.claim("3", ["a", "b", "c"]).finished == {"1": ["a", "b"], "2": ["c"]}


def test_the_latest_holder_to_finish_a_job_has_its_result():
    claims = Claims()
    for holder in "12":
        claims.claim(holder, ["a", holder])
        claims.release(holder, ["a", holder])
    assert claims.finished == {"1": ["1"], "2": ["a", "2"]}
    claims.release("3", ["1"])
    assert claims.finished == {"2": ["a", "2"], "3": ["1"]}


def test_the_oldest_finished_jobs_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims_module, "_MAX_FINISHED", 4)
    claims = Claims()
    for holder, jobs in (("1", "ab"), ("2", "cd"), ("1", "e"), ("3", "f")):
        claims.claim(holder, jobs)
        claims.release(holder, jobs)
    assert claims.finished == {"1": ["a", "b", "e"], "3": ["f"]}
    assert claims.claim("4", "abcdef").finished == claims.finished
