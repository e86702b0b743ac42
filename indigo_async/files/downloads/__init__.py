"""Download, resume and verify purchased CSVs."""
