"""In a notebook, whose kernel runs an event loop, a client lives from one cell to the next."""

from __future__ import annotations

import nbformat
from nbclient import NotebookClient

from indigo_async.sandbox import Sandbox
from tests.support.servers.scripted import sandbox_and_client

OPEN = """
from indigo_async import ColumnSelection, blocking
client = blocking.IndigoClient({token!r}, base_url={base_url!r}, poll_interval=0.01)
"""
MATCH = """
donors = blocking.upload_and_match(client, "https://files.example.org/a.csv", customer_id="42", audience_name="Donors",
    column_selections={"first_name": ColumnSelection("First", required=True)})
client.get_audience(donors.id, customer_id="42").status
"""
INTERRUPTED = """
import os, signal, threading
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
blocking.wait_until_active(client, stub, customer_id="42")
"""


def notebook(sandbox: Sandbox, *cells: str) -> NotebookClient:
    opening = OPEN.format(token=sandbox.token, base_url=sandbox.base_url)
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (opening, *cells)])
    return NotebookClient(document, timeout=60)


async def test_cells_share_a_client():
    async with sandbox_and_client() as (sandbox, _):
        ran = notebook(sandbox, MATCH)
        await ran.async_execute()
    assert ran.nb.cells[-1].outputs[0].data["text/plain"] == "'ACTIVE'"


async def test_the_stop_button_interrupts_a_cell_and_the_client_stays_usable():
    async with sandbox_and_client() as (sandbox, _):
        upload = 'stub = client.upload_csv(customer_id="42", url="https://files.example.org/a.csv").id'
        ran = notebook(sandbox, upload, INTERRUPTED, MATCH)
        ran.allow_errors = True
        await ran.async_execute()
    assert ran.nb.cells[-2].outputs[0].ename == "KeyboardInterrupt"
    assert ran.nb.cells[-1].outputs[0].data["text/plain"] == "'ACTIVE'"
