"""CSVs before they are uploaded: checks and suggested columns."""
