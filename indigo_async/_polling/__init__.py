"""Waiting for the server's asynchronous work: one loop behind all waits of a client."""

from indigo_async._polling.poller import Poller, get_poller
from indigo_async._polling.polls import PollingStats
from indigo_async._polling.watchlist import RecordPart

__all__ = ["Poller", "PollingStats", "RecordPart", "get_poller"]
