"""Telling refusals (429) that have nothing to do with the rate from those of a limit.

One overloaded server of many refuses some requests whatever their rate. Taken for a limit, a few of those in a thousand
would slow a client down without end: each of them lowers a rate that takes many requests to rise again.
"""

from __future__ import annotations

import attrs

__all__ = ["SporadicRefusals"]

# Shares of the latest answers: so few refusals are passed over at any rate, and so many are never chance.
_RARE_SHARE = 0.015
_FREQUENT_SHARE = 0.05
_RECENT_RESPONSES = 100
# A limit refuses nothing at this part of what it bore for so many seconds, whatever burst it allows.
_FAR_BELOW_FACTOR = 0.6
_SUSTAINED_WINDOW_SECONDS = 10.0
# So many times more than by chance must be refused before a limit is thought to be met.
_UNEXPECTED_FACTOR = 3.0
_MIN_RESPONSES = 50
_MAX_SAMPLES = 5_000


@attrs.define
class SporadicRefusals:
    """What part of the requests is refused at any rate: learned at rates far below those that were borne for long.

    Simulated with the limiter under token buckets and windows of 50 to 1,000 requests a second: without chance refusals
    nothing changes; with 0.2% and 0.8% of them, a client that had fallen to a fiftieth of the limit uses most of it.
    """

    _sustained_rate: float = 0.0
    _window_start: float | None = None
    _accepted: int = 0
    _refusal_share: float = 0.0
    _share_samples: int = 0
    _overall_refusal_share: float = 0.0
    _recent_refusal_share: float = 0.0
    _responses: int = 0
    _refusals: int = 0

    def record_response(self, now: float, rate: float | None, *, refused: bool) -> None:
        """Count an answer that came at `now` (seconds), while so many requests a second were let leave."""
        self._responses += 1
        self._refusals += refused
        self._recent_refusal_share += (refused - self._recent_refusal_share) / _RECENT_RESPONSES
        self._overall_refusal_share += (refused - self._overall_refusal_share) / _MAX_SAMPLES
        if rate is not None and self._is_far_below_sustained(rate):
            self._share_samples = min(self._share_samples + 1, _MAX_SAMPLES)
            self._refusal_share += (refused - self._refusal_share) / self._share_samples
        if self._window_start is None or now - self._window_start >= _SUSTAINED_WINDOW_SECONDS:
            self._update_sustained_rate(now)
        self._accepted += not refused

    def is_unrelated_to_rate(self, rate: float | None) -> bool:
        """Whether as much as was refused of late, at this rate, would be refused at any."""
        if self._recent_refusal_share <= _RARE_SHARE:
            return True
        if self._recent_refusal_share > _FREQUENT_SHARE:
            return False
        expected = min(self._refusal_share, self._overall_refusal_share) * (self._responses + _MIN_RESPONSES)
        is_proved = rate is not None and self._is_far_below_sustained(rate)
        return is_proved or self._refusals <= _UNEXPECTED_FACTOR * expected

    def reset_counts(self) -> None:
        """Count anew. Where many were refused, the limit may have fallen below what was proved."""
        self._responses = self._refusals = 0
        if self._recent_refusal_share > _FREQUENT_SHARE:
            self._sustained_rate, self._window_start = 0.0, None

    def skip_pause(self, seconds: float) -> None:
        """Leave out a pause in which nothing was sent."""
        if self._window_start is not None:
            self._window_start += seconds

    def _update_sustained_rate(self, now: float) -> None:
        if self._window_start is not None:
            self._sustained_rate = max(self._sustained_rate, self._accepted / (now - self._window_start))
        self._window_start, self._accepted = now, 0

    def _is_far_below_sustained(self, rate: float) -> bool:
        return rate <= _FAR_BELOW_FACTOR * self._sustained_rate
