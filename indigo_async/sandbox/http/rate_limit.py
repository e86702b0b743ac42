"""The sandbox's rate limit."""

from __future__ import annotations

import math

import attrs

from indigo_async.sandbox.errors import ErrorType, HttpError

__all__ = ["TokenBucket"]


@attrs.define
class TokenBucket:
    """Allows `rate` requests per second, with bursts of up to one second's worth."""

    rate: float
    filled_at: float
    _tokens: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = self._capacity

    @property
    def _capacity(self) -> float:
        return max(1.0, self.rate)

    def acquire(self, now: float) -> None:
        """Take one token at time `now`, in seconds.

        Raises:
            HttpError: 429, with the number of seconds until the next token.
        """
        self._tokens = min(self._capacity, self._tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self._tokens < 1:
            wait = str(math.ceil((1 - self._tokens) / self.rate))
            raise HttpError(429, ErrorType.RATE_LIMITED, "Too many requests.", {"Retry-After": wait})
        self._tokens -= 1
