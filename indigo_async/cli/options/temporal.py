"""Which Temporal service the commands `worker` and `run` use."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Group, Parameter

__all__ = ["TEMPORAL", "TemporalOptions"]


@Parameter(name="*", group=Group("Temporal", sort_key=9))
@attrs.frozen(kw_only=True)
class TemporalOptions:
    """Where Temporal is. Keys and certificates are never options: Temporal's own variables name them."""

    address: Annotated[
        str | None,
        Parameter(
            name="--temporal",
            help="Temporal's address, such as 127.0.0.1:7233. For Temporal Cloud, TEMPORAL_API_KEY holds the key, or "
            "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH name the certificate.",
        ),
    ] = None
    namespace: Annotated[
        str | None, Parameter(help="Temporal's namespace; else TEMPORAL_NAMESPACE, else `default`.")
    ] = None
    task_queue: Annotated[str, Parameter(help="Where workers look for work.")] = "indigo"


TEMPORAL = TemporalOptions()
