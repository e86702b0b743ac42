"""Jobs divided among workers or machines: which worker may run a job, and what all of them may spend together.

The rules are pure. `indigo_async.temporal` keeps their state in workflows. A fence keeps it in a bucket or a folder.
"""
