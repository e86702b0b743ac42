"""What a good engineer would write in an afternoon instead of using this SDK: aiohttp, orjson, one shared list poll.

It has no checks, retries, limits, journal or resumption, and purchases whatever the preview costs.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

__all__ = ["download", "run_jobs"]


async def run_jobs(
    session: aiohttp.ClientSession,
    base_url: str,
    token: str,
    customer: str,
    count: int,
    *,
    interval: float,
    folder: Path | None,
) -> None:
    """Run the cookbook for `count` lists of one customer, and download the exports if there is a folder for them."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}  # not for signed URLs
    waiting: dict[str, tuple[Callable[[Any], bool], asyncio.Future[None]]] = {}

    async def post(path: str, **fields: Any) -> Any:
        body = orjson.dumps({"customerId": customer, **fields})
        async with session.post(base_url + path, data=body, headers=headers) as response:
            response.raise_for_status()
            return orjson.loads(await response.read())

    async def poll() -> None:
        while True:
            await asyncio.sleep(interval)
            async with session.get(
                f"{base_url}/audiences", params={"customerId": customer}, headers=headers
            ) as response:
                response.raise_for_status()
                rows = orjson.loads(await response.read())
            for row in rows:
                if row["id"] in waiting and waiting[row["id"]][0](row):
                    waiting.pop(row["id"])[1].set_result(None)

    async def wait(audience_id: str, is_done: Callable[[Any], bool]) -> None:
        done = asyncio.get_running_loop().create_future()
        waiting[audience_id] = is_done, done
        await done

    async def run_job(number: int) -> None:
        stub = await post("/upload_csv", url=f"https://files.example.org/{number}.csv")
        await wait(stub["id"], lambda row: row["uploadedAudienceCsv"]["status"] == "READY_FOR_COLUMN_SELECTION")
        columns = {"first_name": {"column_name": "First", "is_required": True}}
        name = f"List {number}"
        await post("/match_uploaded_csv", audienceID=stub["id"], audienceName=name, columnSelections=columns)
        await wait(stub["id"], lambda row: row["status"] == "ACTIVE")
        grown = await post(
            "/create_lookalike_audience", baseAudienceId=stub["id"], audienceName=f"{name}, grown", size=5_000
        )
        await wait(grown["id"], lambda row: row["status"] == "ACTIVE")
        preview = await post("/create_preview_csv_export", audienceId=grown["id"], optionalFieldTypes=[])
        export = await post("/purchase_csv_export", exportId=preview["id"])
        if folder is not None:
            await download(session, export["downloadUrl"], folder / f"{number}.csv")

    polling = asyncio.create_task(poll())
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(run_job(number))
    polling.cancel()


async def download(session: aiohttp.ClientSession, url: str, path: Path) -> str:
    """Save a file, and return its SHA-256. The path holds the whole file or none, even after a power loss."""
    part, digest = path.with_suffix(".part"), hashlib.sha256()
    async with session.get(url) as response:
        response.raise_for_status()
        with part.open("wb") as file:
            async for chunk in response.content.iter_chunked(256 * 1024):
                file.write(chunk)
                digest.update(chunk)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
    part.replace(path)
    return digest.hexdigest()
