"""The recipes and their stages: match, lookalike, export and download one audience."""
