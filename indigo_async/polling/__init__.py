"""Waiting for the server's asynchronous work: one loop behind all waits of a client."""

from indigo_async.polling.poller import Poller, poller_of

__all__ = ["Poller", "poller_of"]
