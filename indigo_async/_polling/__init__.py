"""Waiting for the server: one polling loop for all waits of a client."""

from indigo_async._polling.poller import Poller
from indigo_async._polling.polls import PollingStats
from indigo_async._polling.watchlist import PollFailures, RecordPart

__all__ = ["PollFailures", "Poller", "PollingStats", "RecordPart"]
