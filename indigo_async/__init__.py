"""An asyncio SDK for the Indigo audiences API."""
