"""The site: `sphinx-build -n -W --keep-going docs docs/_build/html`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from indigo_async import __version__

project = "indigo_async"
author = "the indigo_async developers"
release = version = __version__
html_title = f"indigo_async {version}"

extensions = [
    "myst_parser",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_help",
    "project_pages",
    "public_names",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
smartquotes = False  # commands stay fit to copy: --json, first_name='First Name'
myst_heading_anchors = 3  # the same anchors as on GitHub

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {
    name: f"indigo_async.{module}.{name}"
    for module, names in {
        "events": ["Listener"],
        "inputs": ["ColumnSelectionsInput", "LookalikeFiltersInput"],
        "models": ["RecordId"],
    }.items()
    for name in names
}
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
python_display_short_literal_types = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nitpicky = True
# Types of other libraries. The site is built without a network, so it has none of their inventories.
nitpick_ignore_regex = [("py:.*", r"(?!indigo_async\b).*")]
nitpick_ignore = [
    ("py:class", "indigo_async._transport.transport.Transport"),  # `files.download` takes a client's
    # What `export_store` returns is only passed on to `create_worker`.
    ("py:class", "indigo_async.temporal.workers.export_stores.FolderExportStore"),
    ("py:class", "indigo_async.temporal.workers.export_stores.ObjectExportStore"),
]

linkcheck_anchors = False  # many sites make their anchors with JavaScript
linkcheck_retries = 2
linkcheck_timeout = 20

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def setup(app: Sphinx) -> None:
    """Show CSV as text: Pygments has no lexer for it."""
    app.add_lexer("csv", TextLexer)
