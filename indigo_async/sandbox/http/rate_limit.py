"""The sandbox's rate limit."""

from __future__ import annotations

import math

import attrs

from indigo_async.sandbox.errors import ErrorType, HttpError

__all__ = ["TokenBucket"]


@attrs.define
class TokenBucket:
    """Lets `rate` requests a second pass, with bursts of one second's worth. It is told the time, in seconds."""

    rate: float
    filled_at: float
    _tokens: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = self._capacity

    @property
    def _capacity(self) -> float:
        return max(1.0, self.rate)

    def acquire(self, now: float) -> None:
        """Let a request pass.

        Raises:
            Refusal: 429, with the whole seconds after which there is room again.
        """
        self._tokens = min(self._capacity, self._tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self._tokens < 1:
            wait = str(math.ceil((1 - self._tokens) / self.rate))
            raise HttpError(429, ErrorType.RATE_LIMITED, "Too many requests.", {"Retry-After": wait})
        self._tokens -= 1
