"""Link public names, and adapt docstrings and signatures to the site.

Single backticks are code, and a link if they hold a public name: `IndigoClient`, `run_batch()`, `workflows.run_batch`,
`AudienceStatus.ACTIVE`. A name is documented under the first public module that has it. Links to the private module
that defines it lead there, too.
"""

from __future__ import annotations

import enum
import re
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import attrs
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

import indigo_async

_LAST = ("temporal", "blocking", "cli")
"""Modules whose functions have the names of functions of `workflows`."""

_MADE_BY_THE_SDK = frozenset({"Batch", "CustomerClient", "FileHost", "RequestLog", "Faults"})
"""Classes that users don't construct."""


def _find_targets() -> dict[str, str]:
    """The full name that documents each public name."""
    modules = [module.name for module in iter_modules(indigo_async.__path__) if not module.name.startswith("_")]
    modules.sort(key=lambda name: name in _LAST)
    targets: dict[str, str] = {}
    for module in ("indigo_async", *(f"indigo_async.{name}" for name in modules)):
        for name in import_module(module).__all__:
            targets.setdefault(name, f"{module}.{name}")
    return targets


_TARGETS = _find_targets()


def link_or_code(
    _name: str, _raw: str, text: str, _line: int, inliner: Any, _options: object = None, _content: object = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The default role of docstrings."""
    text = text.replace("\x00", "")
    code = nodes.literal(text, text, classes=["code"])
    return [_link(code, inliner.document.settings.env.docname) or code], []


class LinkNamesOnPages(SphinxTransform):
    """The same for code in the text of pages, if it looks like a name: `match` may be a command or a word."""

    default_priority = 500

    def apply(self, **_options: object) -> None:
        for code in list(self.document.findall(nodes.literal)):
            is_linked = isinstance(code.parent, (addnodes.pending_xref, nodes.reference, nodes.title))
            if not is_linked and re.search(r"[A-Z_]", code.astext()):
                code.replace_self(_link(code.deepcopy(), self.env.docname) or code)


def _link(code: nodes.literal, page: str) -> addnodes.pending_xref | None:
    target = _find_target(code.astext().removesuffix("()"))
    if target is None:
        return None
    reference = addnodes.pending_xref(
        "", code, refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refwarn=False, is_optional=True
    )
    reference["refdoc"] = page
    return reference


def _find_target(name: str) -> str | None:
    parts = name.split(".")
    known = next((index for index, part in enumerate(parts) if part in _TARGETS), None)
    return None if known is None else ".".join([_TARGETS[parts[known]], *parts[known + 1 :]])


def _resolve_by_public_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Node | None:
    """Link types and exceptions that signatures name by their private modules, or without any."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    target = _find_target(name.rpartition(".")[2]) if name.startswith("indigo_async.") or "." not in name else None
    found = None
    if target is not None:
        domain = env.get_domain("py")
        found = domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, content)
    return found or (content if node.get("is_optional") else None)


def _keep_colons(_app: Sphinx, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Keep Napoleon from taking the text before the first colon of an attribute's docstring as its type."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def _declare_field_types(_app: Sphinx) -> None:
    """Show attrs classes with the types of their fields, not those of converters."""
    for target in _TARGETS.values():
        module, _, name = target.rpartition(".")
        owner = getattr(import_module(module), name)
        if isinstance(owner, type) and attrs.has(owner):
            annotations = owner.__init__.__annotations__
            annotations |= {field.alias: field.type for field in attrs.fields(owner) if field.alias in annotations}


def _tidy_signature(
    _app: Sphinx, what: str, name: str, item: Any, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    if signature is None:
        return None
    if what == "exception" or (what == "class" and _is_made_by_the_sdk(name, item)):
        return "", None
    return _tidy(signature), _tidy(returns)


def _is_made_by_the_sdk(name: str, item: Any) -> bool:
    is_type_only = issubclass(item, enum.Enum) or getattr(item, "_is_protocol", False)
    return is_type_only or name.rpartition(".")[2] in _MADE_BY_THE_SDK


def _tidy(text: str | None) -> str | None:
    if text is None:
        return None
    text = re.sub(r"TypeAliasForwardRef\('([\w.]+)'\)", r"\1", text)
    return re.sub(r"= ?NOTHING\b", "=...", text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("link-or-code", link_or_code)
    app.add_transform(LinkNamesOnPages)
    app.config.default_role = "link-or-code"
    app.connect("missing-reference", _resolve_by_public_name)
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)  # before Napoleon
    app.connect("builder-inited", _declare_field_types)
    app.connect("autodoc-process-signature", _tidy_signature)
    return {"parallel_read_safe": True}
