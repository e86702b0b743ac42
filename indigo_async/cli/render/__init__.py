"""What commands print: records, results, events and advice."""
