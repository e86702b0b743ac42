"""An encrypting codec: everything works with it, and Temporal's server sees neither customers, nor URLs, nor tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from indigo_async.errors import WorkflowError
from indigo_async.temporal import BatchSummary, connect, create_worker, export_store, run_batch, run_job
from indigo_async.temporal.ids import budget_workflow_id, job_workflow_id, shard_workflow_id
from indigo_async.temporal.shards.history import read_shard
from tests.support.temporal_jobs import PRICE_CENTS, TemporalEnvironment, history_text, make_client, make_job

_NONCE_BYTES = 12


class EncryptingCodec(PayloadCodec):
    """As in the samples of Temporal."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        data = nonce + self._cipher.encrypt(nonce, payload.SerializeToString(), None)
        return Payload(metadata={"encoding": b"binary/encrypted"}, data=data)

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != b"binary/encrypted":
            return payload
        return Payload.FromString(self._cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], None))


async def test_everything_works_with_an_encrypting_codec(temporal_environment: TemporalEnvironment, customer: str):
    env = temporal_environment
    codec = EncryptingCodec()
    temporal = await connect(env.address, codec=codec)
    signed = "https://files.example.org/list.csv?signature=canary-signature"
    jobs = [
        attrs.evolve(make_job(number, customer=customer), csv=signed.replace("list", str(number))) for number in (1, 2)
    ]
    own = await connect(env.address, codec=codec)
    async with (
        make_client(env.sandbox) as client,
        create_worker(own, client, exports=export_store(str(env.exports)), task_queue=env.task_queue),
    ):
        single = await run_job(temporal, jobs[0], task_queue=env.task_queue)
        with pytest.raises(WorkflowError, match=r"BudgetExceededError: .* costs \$80\.00"):
            await run_job(temporal, make_job(3, customer=customer, max_cost_cents=0), task_queue=env.task_queue)
        summary: BatchSummary = await run_batch(
            temporal, jobs, name=customer, task_queue=env.task_queue, budget_cents=PRICE_CENTS
        )
    assert (single.spent_cents, summary.done, summary.recalled) == (PRICE_CENTS, 2, 1)
    assert (summary.spent_cents, env.purchase_count()) == (PRICE_CENTS, 2)
    record = await read_shard(temporal, shard_workflow_id(customer, 0))
    assert record is not None
    assert len(record.statuses()) == 2
    histories = [
        await history_text(env.temporal, workflow_id)
        for workflow_id in (
            job_workflow_id(customer, "List 1"),
            job_workflow_id(customer, "List 3"),
            shard_workflow_id(customer, 0),
            f"batch/{customer}",
            budget_workflow_id(customer),
        )
    ]
    text = "".join(histories)
    assert "binary/encrypted" in text
    for secret in (env.sandbox.token, "canary-signature", "/downloads/", "List 2", "aud-1", "costs $80"):
        assert secret not in text


async def test_without_a_codec_a_shard_has_csv_urls_in_its_history_and_no_other_secret(
    temporal_environment: TemporalEnvironment, customer: str, temporal: Client
):
    env = temporal_environment
    job = attrs.evolve(make_job(1, customer=customer), csv="https://files.example.org/1.csv?signature=canary-signature")
    async with env.running_worker():
        await run_batch(temporal, [job], name=customer, task_queue=env.task_queue, budget_cents=PRICE_CENTS)
    text = await history_text(temporal, shard_workflow_id(customer, 0))
    assert "canary-signature" in text  # the guide says so
    assert env.sandbox.token not in text
    assert "/downloads/" not in text
