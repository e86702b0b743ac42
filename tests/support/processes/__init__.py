"""Programs that tests start, and often kill, in processes of their own."""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).resolve().parents[3]
"""The repository: `python -m tests...` and `python -m benchmarks...` run from here."""
