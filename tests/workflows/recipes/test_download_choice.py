"""Which purchased export a second download means."""

import pytest

from indigo_async.errors import ExportExistsError, WorkflowError
from indigo_async.models import Audience, CsvExport
from indigo_async.workflows.recipes.download import choose_purchased

URL = "https://files.example.org/people.csv"
PHONE = frozenset({"phone"})


def purchased_export(export_id: str, *fields: str) -> CsvExport:
    return CsvExport(id=export_id, status="ACTIVE", optional_field_types=fields, cost_cents=6000, download_url=URL)


def audience(*exports: CsvExport) -> Audience:
    return Audience(id="aud-1", csv_exports=exports)


@pytest.mark.parametrize("fields", [("Phone",), ("first_name", "phone", "gender"), ("phone", "phone")])
def test_fields_are_compared_by_their_meaning(fields: tuple[str, ...]):
    shown = audience(purchased_export("e1", *fields), purchased_export("e2", "ethnicity", "vote_history"))
    assert choose_purchased(shown, export_id=None, wanted=PHONE).id == "e1"


def test_of_exports_with_the_same_fields_in_other_words_the_newest_is_meant():
    shown = audience(purchased_export("e1", "phone"), purchased_export("e2", "Phone", "first_name"))
    assert choose_purchased(shown, export_id=None, wanted=None).id == "e2"


def test_a_field_that_nobody_knows_stops_and_names_the_export():
    with pytest.raises(ExportExistsError, match="export e1"):
        choose_purchased(audience(purchased_export("e1", "phone_premium")), export_id=None, wanted=PHONE)


def test_an_export_that_may_have_been_purchased_is_named_instead_of_advice_to_buy():
    unclear = CsvExport(id="e7", status="REQUIRES_PAYMENT", optional_field_types=("phone",), download_url=URL)
    with pytest.raises(WorkflowError, match="export e7 may have been purchased") as caught:
        choose_purchased(audience(unclear), export_id=None, wanted=PHONE)
    assert "call export_audience" not in str(caught.value)
