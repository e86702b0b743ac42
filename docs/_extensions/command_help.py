"""The directive `command-help`: the reference of the command line, from the command's own help."""

from __future__ import annotations

import re

from cyclopts.docs.rst import generate_rst_docs
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from indigo_async.cli.app import app as command

_CONTENTS = re.compile(r"\.\. contents::.*\n(?: +.*\n)*")
_EXAMPLE = re.compile(r"(?m)(?<=\n)\n(?=  indigo-async )")


class CommandHelp(SphinxDirective):
    """A section per command, with its arguments and options."""

    def run(self) -> list[nodes.Node]:
        text = generate_rst_docs(command, heading_level=2, no_root_title=True, skip_preamble=True)
        text = _EXAMPLE.sub("\n::\n\n", _CONTENTS.sub("", text))
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, StringList(text.splitlines(), source="indigo-async --help"), section)
        return section.children


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
