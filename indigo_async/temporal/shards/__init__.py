"""Shards of a batch: what a worker does with the jobs of one, as a single activity."""
