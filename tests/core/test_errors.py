"""The exception tree: attributes, messages and pickling."""

from __future__ import annotations

import copy
import pickle

import pytest

from indigo_async import errors
from indigo_async.errors import (
    AlreadyPurchasedError,
    AmbiguousOutcomeError,
    ApiError,
    AudienceExistsError,
    AudienceFailedError,
    AuthenticationError,
    BudgetExceededError,
    ClientNotOpenError,
    ConnectionFailedError,
    CustomerMismatchError,
    DownloadError,
    ExportExistsError,
    IndigoError,
    InvalidInputError,
    NotFoundError,
    Problem,
    RateLimitedError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
    TransportError,
    WaitTimeoutError,
    WorkflowError,
)
from indigo_async.models import Audience, CsvExport

AUDIENCE = Audience(id="aud-1", name="Donors", status="ACTIVE", customer_id="42")
EXPORT = CsvExport(id="exp-1", cost_cents=500)
EXAMPLES = (
    ClientNotOpenError("not open"),
    InvalidInputError([Problem("size", "must be at least 1"), Problem("url", "is not a URL")]),
    ConnectionFailedError("refused", endpoint="GET /audience"),
    RequestTimeoutError("too late", endpoint="GET /audience"),
    AmbiguousOutcomeError("cut", endpoint="POST /upload_csv"),
    ResponseDecodeError("expected text", endpoint="GET /audience", path="$.status"),
    ApiError(400, "Bad size.", "InvalidParameter", "POST /upload_csv"),
    RateLimitedError(429, "Too many.", None, "GET /audience", 3.5),
    AlreadyPurchasedError(400, "Bought.", "PurchasableEntityAlreadyPurchased", "POST /purchase_csv_export"),
    CustomerMismatchError(endpoint="GET /audience", requested="1", received="2"),
    DownloadError("403", expired=True),
    AudienceFailedError("failed", stage="match", audience=AUDIENCE),
    WaitTimeoutError("late", stage="match"),
    BudgetExceededError("dear", stage="purchase", audience=AUDIENCE, export=EXPORT, limit_cents=100),
    AudienceExistsError("taken", stage="match", audience=AUDIENCE),
    ExportExistsError("bought", stage="preview", audience=AUDIENCE),
)


def test_every_exception_of_the_sdk_is_an_indigo_error():
    classes = [value for name, value in vars(errors).items() if name in errors.__all__ and name != "Problem"]
    assert len(classes) == len(errors.__all__) - 1
    assert all(issubclass(value, IndigoError) for value in classes)


@pytest.mark.parametrize(
    ("child", "parent"),
    [
        (InvalidInputError, ValueError),
        (ConnectionFailedError, TransportError),
        (RequestTimeoutError, TransportError),
        (AmbiguousOutcomeError, TransportError),
        (AuthenticationError, ApiError),
        (NotFoundError, ApiError),
        (RateLimitedError, ApiError),
        (AlreadyPurchasedError, ApiError),
        (ServerError, ApiError),
        (AudienceFailedError, WorkflowError),
        (WaitTimeoutError, WorkflowError),
        (BudgetExceededError, WorkflowError),
        (AudienceExistsError, WorkflowError),
        (ExportExistsError, WorkflowError),
    ],
)
def test_the_tree_is_the_documented_one(child: type[Exception], parent: type[Exception]):
    assert issubclass(child, parent)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (EXAMPLES[2], "GET /audience: refused"),
        (EXAMPLES[5], "GET /audience: expected text at $.status"),
        (EXAMPLES[6], "POST /upload_csv: Bad size. (400, InvalidParameter)"),
        (EXAMPLES[7], "GET /audience: Too many. (429)"),
        (EXAMPLES[9], "GET /audience: requested customer '1', but the response is about customer '2'"),
        (EXAMPLES[11], "match: failed"),
    ],
)
def test_messages_name_the_place_and_the_problem(error: IndigoError, text: str):
    assert str(error) == text


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copied", "pickled"]
)
def test_exceptions_reach_another_process_with_all_attributes(travel, error: IndigoError):
    arrived = travel(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
