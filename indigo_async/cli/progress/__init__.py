"""The progress of a batch: counted, and shown in a terminal."""
