"""`indigo-async report`: summarizes a batch from its journal as an HTML page, text or JSON."""
