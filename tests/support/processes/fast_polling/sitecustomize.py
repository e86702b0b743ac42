"""Lets the clients of an example's process look as often as the sandbox's time is fast."""

from indigo_async import IndigoClient

if IndigoClient.__init__.__kwdefaults__ is not None:
    IndigoClient.__init__.__kwdefaults__["poll_interval"] = 0.01
