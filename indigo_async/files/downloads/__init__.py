"""Purchased CSVs: downloaded, resumed, verified and stored."""
