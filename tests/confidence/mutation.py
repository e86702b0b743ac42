"""Mutation tests of the code that spends, reuses or divides jobs: `python -m tests.confidence.mutation`.

mutmut changes the code in one place at a time, and runs the tests that reach the place. A change that no test notices
survives. Each survivor is killed by a new test or explained in `explained.toml`. The command fails if a survivor is
neither, if an explanation explains nothing, or if less than 95% of a file's mutants are killed.

With names, such as `'*.purchase.*'`, only these mutants are tested. Only a run of all mutants publishes its figures.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import libcst as cst
from mutmut.__main__ import _run, collect_source_file_mutation_data
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import NEVER_MUTATE_FUNCTION_CALLS
from mutmut.mutation.mutators import mutation_operators
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.stats import status_by_exit_code

from tests.confidence.page import publish_table

_EXPLAINED = Path(__file__).with_name("explained.toml")
_TARGET = 0.95
_COLUMNS = ["file", "mutants", "killed", "by a timeout", "explained", "survived", "score"]


def _delete_statement(node: cst.Expr | cst.Raise) -> Iterator[cst.CSTNode]:
    if not isinstance(node, cst.Expr) or not isinstance(node.value, cst.SimpleString | cst.ConcatenatedString):
        yield cst.Pass()


def _negate_condition(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    if not isinstance(node.test, cst.Name):  # `while True`
        parenthesized = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), parenthesized))


def _return_nothing(node: cst.Return) -> Iterator[cst.CSTNode]:
    if node.value is not None and not (isinstance(node.value, cst.Name) and node.value.value == "None"):
        yield node.with_changes(value=cst.Name("None"))


_OWN_OPERATORS = [
    (cst.Expr, _delete_statement),
    (cst.Raise, _delete_statement),
    (cst.If, _negate_condition),
    (cst.While, _negate_condition),
    (cst.Return, _return_nothing),
]
"""Changes that mutmut doesn't make, and that matter most where money is spent."""


_build_arguments = PytestRunner._pytest_args_regular_run


def _run_quick_tests_first(runner: PytestRunner, tests: Iterable[str]) -> list[str]:
    seconds = state().duration_by_test
    return _build_arguments(runner, sorted(tests, key=lambda test: seconds.get(test, 0.0)))


@attrs.frozen
class Explanation:
    """Why a survivor makes no difference to users. `was` and `becomes` are the changed lines, without indentation."""

    file: str
    was: str
    becomes: str
    why: str = attrs.field(eq=False)


@attrs.frozen
class Mutant:
    """A change, and whether a test noticed it."""

    name: str
    file: str
    status: str

    @property
    def is_killed(self) -> bool:
        return self.status in {"killed", "timeout"}

    def explain(self, why: str = "") -> Explanation:
        """Describe the change."""
        lines = get_diff_for_mutant(self.name, path=self.file).splitlines()[2:]
        was, becomes = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        return Explanation(self.file, was, becomes, why)


def _read_mutants(names: Sequence[str] = ()) -> list[Mutant]:
    mutants, _ = collect_source_file_mutation_data(mutant_names=list(names))
    return [Mutant(name, str(data.path), status_by_exit_code[code]) for data, name, code in mutants]


def _judge(mutants: Sequence[Mutant]) -> tuple[list[list[object]], list[str]]:
    """Return a row of the table for each file, and what is wrong."""
    rows: list[list[object]] = []
    problems: list[str] = []
    explained = [Explanation(**entry) for entry in tomllib.loads(_EXPLAINED.read_text("utf-8"))["survivor"]]
    used: set[Explanation] = set()
    for file in sorted({mutant.file for mutant in mutants}):
        counts = Counter[str]()
        for mutant in mutants:
            if mutant.file == file and mutant.is_killed:
                counts[mutant.status] += 1
            elif mutant.file == file:
                change = mutant.explain()
                if change in explained:
                    used.add(change)
                    counts["explained"] += 1
                else:
                    counts["survived"] += 1
                    problems.append(f"{mutant.name} ({mutant.status}):\n- {change.was}\n+ {change.becomes}")
        killed = counts["killed"] + counts["timeout"]
        score = killed / counts.total()
        numbers = [counts.total(), killed, counts["timeout"], counts["explained"], counts["survived"]]
        rows.append([file, *numbers, f"{score:.1%}"])
        if score < _TARGET:
            problems.append(f"{file}: less than {_TARGET:.0%} of the mutants are killed")
    tested = {mutant.file for mutant in mutants}
    problems += [f"explains no survivor: {entry}" for entry in explained if entry.file in tested and entry not in used]
    return rows, problems


def main() -> int:
    """Test the mutants, report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.confidence.mutation", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--survivors", action="store_true", help="test the survivors of the last run again")
    options = parser.parse_args()
    mutation_operators.extend(_OWN_OPERATORS)
    NEVER_MUTATE_FUNCTION_CALLS.add("cast")  # it changes types only
    PytestRunner._pytest_args_regular_run = _run_quick_tests_first
    names = options.names
    if options.survivors:
        names = [mutant.name for mutant in _read_mutants(names) if not mutant.is_killed]
    else:
        shutil.rmtree("mutants", ignore_errors=True)
    _run(names, options.processes)
    rows, problems = _judge(_read_mutants(options.names))
    if options.names:
        print(*(" ".join(map(str, row)) for row in [_COLUMNS, *rows]), sep="\n")
    else:
        publish_table("mutation", _COLUMNS, rows)
    print(*problems, sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
