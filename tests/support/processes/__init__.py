"""Programs that tests start, and often kill, in separate processes."""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).resolve().parents[3]
"""The repository, from which `python -m tests...` and `python -m benchmarks...` run."""
