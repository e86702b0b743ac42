"""The public interface as text: `python -m scripts.public_api` records it in `tests/public_api/baseline`.

There is a stub for each public module, which people read in reviews and griffe compares. It has every name of the
module's `__all__`, with the signatures and annotations of the source. attrs classes get the constructor that attrs
gives them.
"""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import attrs
import griffe

import indigo_async

ROOT = Path(__file__).parent.parent
BASELINE = ROOT / "tests" / "public_api" / "baseline"

_SPECIAL_METHODS = {"__init__", "__call__", "__len__", "__iter__", "__aiter__", "__anext__"} | {
    "__enter__",
    "__exit__",
    "__aenter__",
    "__aexit__",
    "__await__",
}
_POSITIONAL = griffe.ParameterKind.positional_only
_STARS: dict[griffe.ParameterKind | None, str] = {
    griffe.ParameterKind.var_positional: "*",
    griffe.ParameterKind.var_keyword: "**",
}
_NAMED_AFTER = {griffe.ParameterKind.var_positional, griffe.ParameterKind.keyword_only}


def main() -> None:
    """Record the interface as it is."""
    BASELINE.mkdir(parents=True, exist_ok=True)
    for old in BASELINE.glob("*.pyi"):
        old.unlink()
    for name, stub in render_stubs().items():
        (BASELINE / f"{name}.pyi").write_text(stub, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(BASELINE)], check=True)


def read_baseline() -> dict[str, str]:
    """Return the recorded stubs by the names of their modules."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(BASELINE.glob("*.pyi"))}


def render_stubs() -> dict[str, str]:
    """Return a stub of each public module, by its name below the package."""
    package = cast("griffe.Module", griffe.load("indigo_async", search_paths=[ROOT], resolve_aliases=True))
    names = [module.name for module in pkgutil.iter_modules(indigo_async.__path__) if module.name[0] != "_"]
    modules = {name: package[name] for name in names if name != "cli"}  # the command promises options, not names
    modules["indigo_async"] = package
    owners: dict[str, str] = {}
    for name, module in [("indigo_async", package), *modules.items()]:
        for member in list_exports(module):
            owners.setdefault(resolve(member).path, f"{name}.{member.name}")
    return {
        name: "\n\n".join(render(name, member, owners) for member in list_exports(module)) + "\n"
        for name, module in sorted(modules.items())
    }


@attrs.frozen(order=True)
class Change:
    """A change that breaks callers of a public name."""

    path: str
    what: str

    @property
    def name(self) -> str:
        """The name that a notice of the change has to mention: of a class instead of its constructor."""
        return self.path.removesuffix(".__init__").rpartition(".")[2]


def find_breaking_changes(old: dict[str, str], new: dict[str, str]) -> list[Change]:
    """Return the changes between two sets of stubs that break callers."""
    old_tree, new_tree = build_tree(old), build_tree(new)
    changes = {
        Change(breakage.obj.path.removeprefix("api."), describe(breakage))
        for breakage in griffe.find_breaking_changes(old_tree, new_tree)
    }
    return sorted(changes.union(compare_types(old_tree, new_tree)))


def describe(breakage: griffe.Breakage) -> str:
    parameter = breakage.old_value or breakage.new_value
    which = f" ({parameter.name})" if isinstance(parameter, griffe.Parameter) else ""
    return breakage.kind.value[:1].lower() + breakage.kind.value[1:] + which


def compare_types(old: griffe.Object, new: griffe.Object) -> Iterator[Change]:
    """Compare what griffe doesn't: types and `async`. Parameters may accept more, and results may be fewer types."""
    path = old.path.removeprefix("api.")
    for name in old.members.keys() & new.members.keys():
        yield from compare_types(resolve(old.members[name]), resolve(new.members[name]))
    if isinstance(old, griffe.Function) and isinstance(new, griffe.Function):
        if ("async" in old.labels) != ("async" in new.labels):
            yield Change(path, "became a coroutine function, or no longer is one")
        for parameter in old.parameters:
            later = next((each for each in new.parameters if each.name == parameter.name), parameter)
            if not union(parameter.annotation) <= union(later.annotation):
                yield Change(path, f"the type of {parameter.name} was {parameter.annotation}, is {later.annotation}")
        if not union(new.returns) <= union(old.returns):
            yield Change(path, f"the result was {old.returns}, is {new.returns}")
    if (
        isinstance(old, griffe.Attribute)
        and isinstance(new, griffe.Attribute)
        and not union(new.annotation) <= union(old.annotation)
    ):
        yield Change(path, f"the type was {old.annotation}, is {new.annotation}")


def union(annotation: str | griffe.Expr | None) -> set[str]:
    """Return the alternatives of a type."""

    def flatten(node: ast.expr) -> Iterator[str]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            yield from flatten(node.left)
            yield from flatten(node.right)
        else:
            yield ast.unparse(node)

    return set(flatten(ast.parse(str(annotation), mode="eval").body))


def build_tree(stubs: dict[str, str]) -> griffe.Module:
    """Parse stubs as the modules of one package."""
    tree = griffe.Module("api", filepath=BASELINE / "__init__.pyi")
    for name, stub in stubs.items():
        tree.set_member(name, griffe.visit(name, BASELINE / f"{name}.pyi", stub, parent=tree))
    return tree


def list_exports(module: griffe.Object | griffe.Alias) -> list[griffe.Object | griffe.Alias]:
    return [module.members[name] for name in sorted(str(name) for name in module.exports or ())]


def resolve(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def render(module: str, exported: griffe.Object | griffe.Alias, owners: dict[str, str]) -> str:
    """Return the definition of a name in a stub, or where it is defined if another public module has it, too."""
    name, member = exported.name, resolve(exported)
    if owners[member.path] != f"{module}.{name}":
        return f"{name} = {owners[member.path]}"
    match member:
        case griffe.Class():
            return render_class(name, member, owners)
        case griffe.Function():
            return render_function(name, member)
        case griffe.Attribute():
            return render_attribute(name, member)
        case _:
            return f"{name}: Module"


def render_class(name: str, cls: griffe.Class, owners: dict[str, str]) -> str:
    """Return a class with its public members. Those of base classes are left out if the base class is public."""
    bases = ", ".join(str(base) for base in cls.bases)
    members = {
        member.name: resolve(member)
        for each in (*reversed([base for base in cls.mro() if base.path not in owners]), cls)
        for member in each.members.values()
        if member.name[0] != "_" or member.name in _SPECIAL_METHODS
    }
    constructor = members.get("__init__")
    parameters = constructor.parameters if isinstance(constructor, griffe.Function) else griffe.Parameters()
    lines: list[str] = []
    real = find_class(cls)
    if attrs.has(real):
        members.pop("__init__", None)
        lines.append(render_constructor(cls, real))
    for member_name, member in sorted(members.items()):
        if isinstance(member, griffe.Function):
            lines += render_function(member_name, member).splitlines()
        elif isinstance(member, griffe.Attribute):
            lines += render_attribute(member_name, member, parameters).splitlines()
    return "\n    ".join([f"class {name}({bases}):" if bases else f"class {name}:", *(lines or ["..."])])


def find_class(cls: griffe.Class) -> type:
    """Return the class itself."""
    return cast("type", getattr(import_module(cls.module.path), cls.name))


def render_constructor(cls: griffe.Class, real: type) -> str:
    """Return the signature of the constructor that attrs writes."""
    annotations = {
        name: str(member.annotation)
        for each in (*reversed(cls.mro()), cls)
        for name, member in each.members.items()
        if isinstance(member, griffe.Attribute)
    }
    parameters: dict[bool, list[str]] = {False: [], True: []}
    for field in cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(real)):
        if field.init:
            default = "" if field.default is attrs.NOTHING else " = ..."
            parameters[bool(field.kw_only)].append(f"{field.alias}: {annotations[field.name]}{default}")
    named = ["*", *parameters[True]] if parameters[True] else []
    return f"def __init__({', '.join(['self', *parameters[False], *named])}) -> None: ..."


def render_function(name: str, function: griffe.Function) -> str:
    kinds = {"staticmethod", "classmethod"}
    decorators = [f"@{each.value}\n" for each in function.decorators if str(each.value) in kinds]
    keyword = "async def" if "async" in function.labels else "def"
    returns = f" -> {function.returns}" if function.returns else ""
    return f"{''.join(decorators)}{keyword} {name}({', '.join(render_parameters(function))}){returns}: ..."


def render_parameters(function: griffe.Function) -> Iterator[str]:
    kinds = [parameter.kind for parameter in function.parameters]
    for index, parameter in enumerate(function.parameters):
        stars = _STARS.get(kinds[index], "")
        if kinds[index] is griffe.ParameterKind.keyword_only and _NAMED_AFTER.isdisjoint(kinds[:index]):
            yield "*"
        annotation = f": {parameter.annotation}" if parameter.annotation else ""
        default = f" = {parameter.default}" if parameter.default is not None and not stars else ""
        yield f"{stars}{parameter.name}{annotation}{default}"
        if kinds[index] is _POSITIONAL and _POSITIONAL not in kinds[index + 1 :]:
            yield "/"


def render_attribute(name: str, attribute: griffe.Attribute, parameters: griffe.Parameters | None = None) -> str:
    """Return a variable, a field or a property. The constructor of its class has its default and may have its type."""
    if "property" in attribute.labels:
        return f"@property\ndef {name}(self) -> {attribute.annotation}: ..."
    annotation = attribute.annotation
    if annotation is None and parameters is not None and name in parameters:
        annotation = parameters[name].annotation
    if name == "__version__":
        annotation = "str"
    if annotation is not None and str(annotation).rpartition(".")[2] != "TypeAlias":
        return f"{name}: {annotation}"
    return f"{name} = {attribute.value}"


if __name__ == "__main__":
    main()
