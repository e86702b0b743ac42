"""The sandbox's HTTP side: routes, responses, faults and signed URLs."""
