"""Manifests: YAML, CSV or JSON Lines files that list a batch. docs/reference/manifest.md describes the format."""

from indigo_async.cli.manifest.reader import Manifest, read_manifest

__all__ = ["Manifest", "read_manifest"]
