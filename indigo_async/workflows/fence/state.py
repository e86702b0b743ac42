"""What the shards of a batch share, as a log: its entries, and the state that results from applying them in order.

An entry holds requests. Whether they are granted follows from the entries before it, by the same rules for every
reader, so all decisions are made in one order, without a lock or a server.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import attrs

from indigo_async.workflows.sharding.ledger import Grant, Ledger

__all__ = ["Entry", "FenceState", "PurchaseFacts", "Replies", "Snapshot"]

_MAX_PURCHASES = 100_000


@attrs.frozen(kw_only=True)
class PurchaseFacts:
    """An export that was purchased for a job, or may be, with what `choose_export` needs to know about it.

    Journals of earlier versions don't name the audience.
    """

    audience_id: str | int | None
    export_id: str
    cost_cents: int
    field_types: tuple[str, ...]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> PurchaseFacts:
        """Take what the fence stores from the facts of a job log."""
        return cls(
            audience_id=facts.get("audience_id"),
            export_id=str(facts["export_id"]),
            cost_cents=facts["cost_cents"],
            field_types=tuple(facts["field_types"]),
        )

    def to_facts(self) -> dict[str, Any]:
        audience = {} if self.audience_id is None else {"audience_id": self.audience_id}
        return audience | {
            "export_id": self.export_id,
            "cost_cents": self.cost_cents,
            "field_types": list(self.field_types),
        }


@attrs.frozen(kw_only=True)
class Entry:
    """The requests of one owner, by job reference. They are applied in the order of the fields.

    `limit_cents` is the most that this owner lets all owners spend together. `gone` names owners whose lease has ended.
    `leaves`: the owner releases its jobs and sends nothing more.
    """

    id: str
    owner: str
    limit_cents: int | None = None
    gone: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    results: dict[str, PurchaseFacts] = attrs.Factory(dict[str, PurchaseFacts])
    withdrawals: tuple[str, ...] = ()
    intents: dict[str, PurchaseFacts] = attrs.Factory(dict[str, PurchaseFacts])
    leaves: bool = False


@attrs.frozen(kw_only=True)
class Replies:
    """The replies to an entry: the owners of claimed jobs that others own, and whether each intent was granted."""

    held: Mapping[str, str]
    grants: Mapping[str, Grant]


@attrs.frozen(kw_only=True)
class Snapshot:
    """A state as it is stored; see `FenceState` and `Ledger`."""

    owners: dict[str, str]
    purchases: dict[str, PurchaseFacts]
    intents: dict[str, list[PurchaseFacts]]
    limit_cents: int | None
    spent_cents: int
    reserved: dict[str, int]
    holders: dict[str, str]


@attrs.define(kw_only=True)
class FenceState:
    """Which owner has which job, what each job purchased, and what all owners have spent together.

    An owner records an intent before it sends a purchase. It is refused if another owner has taken over the job, if
    the job may have purchased another export, or if less is left of the budget. A purchase is
    recorded even if another owner has taken over the job, because it happened. `purchases` has the last
    one of each job, for the last 100,000 jobs.
    """

    owners: dict[str, str] = attrs.Factory(dict[str, str])
    ledger: Ledger = attrs.Factory(Ledger)
    purchases: dict[str, PurchaseFacts] = attrs.Factory(dict[str, PurchaseFacts])
    intents: dict[str, list[PurchaseFacts]] = attrs.Factory(dict[str, list[PurchaseFacts]])

    @classmethod
    def restore(cls, stored: Snapshot) -> FenceState:
        """The state in a snapshot."""
        ledger = Ledger(
            limit_cents=stored.limit_cents,
            spent_cents=stored.spent_cents,
            reserved=stored.reserved,
            holders=stored.holders,
        )
        return cls(owners=stored.owners, ledger=ledger, purchases=stored.purchases, intents=stored.intents)

    def snapshot(self) -> Snapshot:
        """The state as it is stored. It shares mutable values with this state, so encode it at once."""
        ledger = self.ledger
        return Snapshot(
            owners=self.owners,
            purchases=self.purchases,
            intents=self.intents,
            limit_cents=ledger.limit_cents,
            spent_cents=ledger.spent_cents,
            reserved=ledger.reserved,
            holders=ledger.holders,
        )

    def apply(self, entry: Entry) -> Replies:
        """Apply the next entry of the log."""
        if entry.gone:
            self._release(entry.gone)
        owners = {job: self.owners.setdefault(job, entry.owner) for job in entry.claims}
        for job, facts in entry.results.items():
            self._record_result(job, facts)
        for job in entry.withdrawals:
            if self.owns(entry.owner, job):
                self._withdraw(job)
        grants = {job: self._intend(entry, job, facts) for job, facts in entry.intents.items()}
        if entry.leaves:
            self._release([entry.owner])
        held = {job: owner for job, owner in owners.items() if owner != entry.owner}
        return Replies(held=held, grants=grants)

    def owns(self, owner: str, job: str) -> bool:
        return self.owners.get(job) == owner

    def _release(self, gone: Collection[str]) -> None:
        self.owners = {job: owner for job, owner in self.owners.items() if owner not in gone}

    def _intend(self, entry: Entry, job: str, facts: PurchaseFacts) -> Grant:
        self.ledger.limit_cents = entry.limit_cents
        if not self.owns(entry.owner, job):
            return Grant(granted=False, left_cents=self.ledger.left_cents, is_superseded=True)
        grant = self.ledger.reserve(facts.export_id, facts.cost_cents, job=job)
        if grant.granted:
            self.intents.setdefault(job, []).append(facts)
        return grant

    def _withdraw(self, job: str) -> None:
        """Withdraw the last intent of a job. What an earlier owner intended stays open."""
        intents = self.intents.pop(job, [])
        if intents[:-1]:
            self.intents[job] = intents[:-1]
        elif intents:
            self.ledger.release(intents[0].export_id, job=job)

    def _record_result(self, job: str, facts: PurchaseFacts) -> None:
        self.purchases.pop(job, None)
        self.purchases[job] = facts
        if len(self.purchases) > _MAX_PURCHASES:
            del self.purchases[next(iter(self.purchases))]
        self.ledger.settle(facts.export_id, facts.cost_cents, job=job)
        still_open = [intent for intent in self.intents.pop(job, []) if intent.export_id != facts.export_id]
        if still_open:
            self.intents[job] = still_open
