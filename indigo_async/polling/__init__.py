"""Waiting for the server's asynchronous work: one loop behind all waits of a client."""

from indigo_async.polling.poller import Needs, Poller, poller_of

__all__ = ["Needs", "Poller", "poller_of"]
