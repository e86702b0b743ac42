"""Waiting for the server's asynchronous work: one loop behind all waits of a client."""

from indigo_async.polling.looks import PollingStats
from indigo_async.polling.poller import Poller, poller_of
from indigo_async.polling.waits import Needs

__all__ = ["Needs", "Poller", "PollingStats", "poller_of"]
