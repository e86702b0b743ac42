"""Whatever the names are, a generated manifest is read back as the jobs it was made for."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from indigo_async.cli.manifest import read_manifest
from indigo_async.cli.manifest.generate import DraftJob, DraftSteps, write_json_lines, write_yaml
from indigo_async.inputs import CANONICAL_FIELDS, ColumnSelection, ColumnSelections

_texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(lambda text: text == text.strip())
_columns = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)


@st.composite
def _selections(draw: st.DrawFn) -> dict[str, ColumnSelection]:
    fields = draw(st.sets(st.sampled_from(sorted(set(CANONICAL_FIELDS) - {"full_name", "id", "address"})), min_size=1))
    names = draw(st.lists(_columns, min_size=len(fields), max_size=len(fields), unique=True))
    in_order = [field for field in CANONICAL_FIELDS if field in fields]
    return {field: ColumnSelection(name, required=True) for field, name in zip(in_order, names, strict=True)}


_drafts = st.lists(
    st.builds(
        DraftJob,
        customer_id=_texts,
        audience_name=_texts,
        csv=st.integers(0, 9).map("https://files.example.org/{}.csv".format),
        selections=_selections(),
        warnings=st.lists(st.text(max_size=150), max_size=2),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda draft: (draft.customer_id, draft.audience_name),
)


@given(_drafts, st.lists(st.text(max_size=150), max_size=2))
def test_generated_manifests_are_read_back(drafts: list[DraftJob], heading: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        for name, lines in (
            ("jobs.yaml", write_yaml(drafts, DraftSteps(), heading)),
            ("jobs.jsonl", write_json_lines(drafts, DraftSteps())),
        ):
            path = Path(folder) / name
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
            jobs = list(read_manifest(path))
            assert [(job.customer_id, job.audience_name, job.csv) for job in jobs] == [
                (draft.customer_id, draft.audience_name, draft.csv) for draft in drafts
            ]
            assert [job.column_selections for job in jobs] == [ColumnSelections(**draft.selections) for draft in drafts]
