"""Manifests: YAML, CSV or JSON Lines files that list the jobs of a batch. docs/reference/manifest.md describes the format."""

from indigo_async.cli.manifest.reader import read_manifest

__all__ = ["read_manifest"]
