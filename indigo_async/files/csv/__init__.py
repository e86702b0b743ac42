"""Check local CSVs before they are uploaded, and suggest columns to match by."""
