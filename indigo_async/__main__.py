"""`python -m indigo_async` is the command `indigo-async`."""

from indigo_async.cli import main

main()
