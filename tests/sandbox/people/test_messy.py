from __future__ import annotations

import numpy as np
import pytest

from indigo_async.sandbox.people import (
    MESSY_COLUMNS,
    generate_messy_csv,
    generate_messy_upload,
    parse_csv,
    sample_voters,
)


def test_messy_uploads_are_deterministic_for_a_seed(voters):
    assert (
        generate_messy_csv(voters, 200, seed=1)
        == generate_messy_csv(voters, 200, seed=1)
        == generate_messy_upload(voters, 200, seed=1).csv
    )
    assert generate_messy_csv(voters, 200, seed=1) != generate_messy_csv(voters, 200, seed=2)


@pytest.mark.parametrize("stranger_rate", [0.0, 0.15, 1.0])
def test_the_truth_of_every_row_is_known(voters, stranger_rate):
    upload = generate_messy_upload(voters, 1_000, seed=3, stranger_rate=stranger_rate)
    table = parse_csv(upload.csv)
    assert table.columns == MESSY_COLUMNS
    assert len(table) == len(upload.truth) == 1_000
    assert (upload.truth == -1).sum() == 1_000 * stranger_rate
    known = upload.truth[upload.truth >= 0].tolist()
    assert len(set(known)) == len(known)
    assert len(set(table.column("Member ID"))) == 1_000


def test_rows_are_the_people_that_the_truth_says(voters):
    upload = generate_messy_upload(voters, 2_000, seed=3)
    surnames = parse_csv(upload.csv).column("Last Name")
    with voters.cursor() as cursor:
        names = dict(cursor.execute("SELECT voter, last_name FROM voters").fetchall())
    same = [surnames[row].upper() == names[voter] for row, voter in enumerate(upload.truth.tolist()) if voter >= 0]
    assert 0.85 < np.mean(same) < 0.97


def test_it_is_as_messy_as_real_lists_are(voters):
    table = parse_csv(generate_messy_csv(voters, 2_000, seed=3))
    firsts, zips, phones, dates = (table.column(name) for name in ("First Name", "Zip Code", "Phone", "Birth Date"))
    assert any(name.isupper() for name in firsts)
    assert any(name.islower() for name in firsts)
    assert any(not name.isascii() for name in firsts)
    assert any("-" in code for code in zips)
    assert any(len(code) < 5 for code in zips if code)
    assert {"(", "+", "."} <= {phone[0] if phone[0] in "(+" else phone[3] for phone in phones if phone}
    assert any("/" in day for day in dates)
    assert any("," in day for day in dates)
    for name in ("First Name", "Last Name", "Street", "City", "Zip Code", "Phone", "Birth Date"):
        assert 0 < table.column(name).count("") < 1_000


def test_the_people_drawn_follow_the_profile(voters):
    drawn = sample_voters(voters, 1_000, seed=1)
    assert len(set(drawn.tolist())) == 1_000
    with voters.cursor() as cursor:
        support, born = (
            np.array(column, dtype=float)
            for column in zip(
                *cursor.execute("SELECT support_democratic, year(dob) FROM voters ORDER BY voter").fetchall(),
                strict=True,
            )
        )
    assert support[drawn].mean() > support.mean() + 0.15
    assert born[drawn].mean() < born.mean() - 5


def test_people_come_from_the_requested_states(voters):
    drawn = sample_voters(voters, 10**6, seed=1, states=["PA", "OH"])
    with voters.cursor() as cursor:
        expected = cursor.execute("SELECT voter FROM voters WHERE reg_state IN ('PA', 'OH')").fetchall()
    assert set(drawn.tolist()) == {voter for (voter,) in expected}
    upload = generate_messy_upload(voters, 50, seed=1, states=["PA"], stranger_rate=0)
    assert set(upload.truth.tolist()) < set(drawn.tolist())
