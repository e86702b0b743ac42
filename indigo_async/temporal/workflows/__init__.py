"""The Temporal workflows of jobs, pages, batches and budgets."""
