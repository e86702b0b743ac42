"""Telling refusals (429) that have nothing to do with the rate from those of a limit.

One overloaded server of many refuses some requests whatever their rate. Taken for a limit, a few of those in a thousand
would slow a client down without end: each of them lowers a rate that takes many requests to rise again.
"""

from __future__ import annotations

import attrs

__all__ = ["Chance"]

# Shares of the latest answers: so few refusals are passed over at any rate, and so many are never chance.
_RARE = 0.015
_MANY = 0.05
_LATEST_ANSWERS = 100
# A limit refuses nothing at this part of what it bore for so many seconds, whatever burst it allows.
_FAR_BELOW = 0.6
_PROOF_SECONDS = 10.0
# So many times more than by chance must be refused before a limit is thought to be met.
_MORE_THAN_CHANCE = 3.0
_LEAST_ANSWERS = 50
_REMEMBERED_ANSWERS = 5_000


@attrs.define
class Chance:
    """What part of the requests is refused at any rate: learned at rates far below those that were borne for long.

    Simulated with the limiter under token buckets and windows of 50 to 1,000 requests a second: without chance refusals
    nothing changes; with 0.2% and 0.8% of them, a client that had fallen to a fiftieth of the limit uses most of it.
    """

    _proved: float = 0.0
    _since: float | None = None
    _accepted: int = 0
    _share: float = 0.0
    _samples: int = 0
    _overall: float = 0.0
    _latest: float = 0.0
    _answers: int = 0
    _refusals: int = 0

    def answered(self, now: float, rate: float | None, *, refused: bool) -> None:
        """Count an answer that came at `now` (seconds), while so many requests a second were let leave."""
        self._answers += 1
        self._refusals += refused
        self._latest += (refused - self._latest) / _LATEST_ANSWERS
        self._overall += (refused - self._overall) / _REMEMBERED_ANSWERS
        if rate is not None and self._is_proved(rate):
            self._samples = min(self._samples + 1, _REMEMBERED_ANSWERS)
            self._share += (refused - self._share) / self._samples
        if self._since is None or now - self._since >= _PROOF_SECONDS:
            self._prove(now)
        self._accepted += not refused

    def explains(self, rate: float | None) -> bool:
        """Whether as much as was refused of late, at this rate, would be refused at any."""
        if self._latest <= _RARE:
            return True
        if self._latest > _MANY:
            return False
        expected = min(self._share, self._overall) * (self._answers + _LEAST_ANSWERS)
        is_proved = rate is not None and self._is_proved(rate)
        return is_proved or self._refusals <= _MORE_THAN_CHANCE * expected

    def met_limit(self) -> None:
        """Count anew. Where many were refused, the limit may have fallen below what was proved."""
        self._answers = self._refusals = 0
        if self._latest > _MANY:
            self._proved, self._since = 0.0, None

    def skip(self, seconds: float) -> None:
        """Leave out a pause in which nothing was sent."""
        if self._since is not None:
            self._since += seconds

    def _prove(self, now: float) -> None:
        if self._since is not None:
            self._proved = max(self._proved, self._accepted / (now - self._since))
        self._since, self._accepted = now, 0

    def _is_proved(self, rate: float) -> bool:
        return rate <= _FAR_BELOW * self._proved
