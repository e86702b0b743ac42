"""Makes the clients of an example's process poll as fast as the sandbox's clock runs."""

from indigo_async import IndigoClient

if IndigoClient.__init__.__kwdefaults__ is not None:
    IndigoClient.__init__.__kwdefaults__["poll_interval"] = 0.01
