"""Waiting for the server's asynchronous work: one loop behind all waits of a client."""

from indigo_async.polling.looks import PollingStats
from indigo_async.polling.poller import Poller, get_poller
from indigo_async.polling.waits import RecordPart

__all__ = ["Poller", "PollingStats", "RecordPart", "get_poller"]
