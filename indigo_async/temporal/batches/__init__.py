"""Batches: start them, follow them, list their jobs and stop them."""
