"""Batches: many jobs at once, their reports, budgets and conflicts."""
