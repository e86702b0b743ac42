from __future__ import annotations

import pytest

from indigo_async import errors
from indigo_async.cli import advice
from indigo_async.cli.advice import advice_for


def test_all_advice_is_about_errors_that_there_are():
    assert set(advice._ADVICE) <= set(errors.__all__)


@pytest.mark.parametrize("error_type", ["ApiError", "CustomerMismatchError", "NotFoundError"])
def test_running_again_is_not_advised_where_it_cannot_help(error_type: str):
    words = advice_for(error_type)
    assert "Running the batch again" in words
    assert "Run the batch again" not in words


def test_an_error_that_nobody_foresaw_can_be_tried_again():
    assert advice_for("SomeOtherError").startswith("Run the batch again")
