"""Manifests: files that name the jobs of a batch, as YAML, CSV or JSON lines. docs/manifest.md tells the format."""

from indigo_async.cli.manifest.reader import read_manifest

__all__ = ["read_manifest"]
