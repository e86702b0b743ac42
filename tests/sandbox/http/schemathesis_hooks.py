"""What Schemathesis needs to know about this API; it loads this module by SCHEMATHESIS_HOOKS.

Random IDs meet no record, so valid requests are pointed at records that exist. Schemathesis's own check of valid data
takes any 400 for a fault, but here 400 also says that a name is taken or a CSV has no such column: so a check that
valid data is never answered with an error that blames a parameter.
"""

from __future__ import annotations

import json
import os

import requests
import schemathesis
from schemathesis.generation import GenerationMode

_BASE_URL = os.environ["SANDBOX_BASE_URL"]
_HEADERS = {"Authorization": f"Bearer {os.environ['SANDBOX_TOKEN']}"}
_APP_AUDIENCE: str | int = json.loads(os.environ["SANDBOX_APP_AUDIENCE"])
_BLAMES_A_PARAMETER = {"InvalidParameter", "MissingParameter", "MalformedJson"}


def _is_valid(case: schemathesis.Case) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def _made(path: str, **body: object) -> str | int:
    """The ID of a record made for a request."""
    answer = requests.post(_BASE_URL + path, json=body, headers=_HEADERS, timeout=10)
    answer.raise_for_status()
    return answer.json()["id"]


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, object]) -> None:
    del context, kwargs
    if not _is_valid(case) or not isinstance(case.body, dict):
        return
    match case.operation.path:
        case "/match_uploaded_csv":
            customer_id = case.body["customerId"]
            case.body["audienceID"] = _made("/upload_csv", customerId=customer_id, url="http://127.0.0.1/people.csv")
        case "/create_lookalike_audience":
            case.body["baseAudienceId"] = _APP_AUDIENCE
        case "/create_preview_csv_export":
            case.body["audienceId"] = _APP_AUDIENCE
        case "/purchase_csv_export":
            case.body["exportId"] = _made(
                "/create_preview_csv_export", audienceId=_APP_AUDIENCE, optionalFieldTypes=["phone"]
            )


@schemathesis.check
def valid_data_is_not_blamed(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    del ctx
    if _is_valid(case) and response.status_code == 400:
        answer = response.json()
        assert answer["errorType"] not in _BLAMES_A_PARAMETER, f"valid data was refused: {answer['error']}"
