"""`indigo-async report`: what a batch did, from its journal alone, as a page, as words, or as JSON."""
