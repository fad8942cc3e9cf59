"""The public names of the package, from their docstrings, which are read and not run.

On a page of prose::

    ```{api} initscope.theory
    ```

lists what the package exports, and under each name its signature, what its docstring says and its
example. griffe reads the sources, so that neither torch nor the package itself is imported. In the
chapters and on the pages of prose, a public name set as code leads here.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config as SphinxConfig
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon import Config, NumpyDocstring
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import find_pending_xref_condition, make_refnode

logger = logging.getLogger(__name__)

SOURCES = Path(__file__).resolve().parents[2] / "src"
PACKAGE = "initscope"

# Names that are explained together stay together: of "lr, weight_decay" Sphinx' own fields would
# make two entries with the same text, and of attributes lose the first name.
STYLE = Config(
    napoleon_use_param=False,
    napoleon_use_rtype=False,
    napoleon_custom_sections=[("Attributes", "params_style")],
)

SHORT_VALUE = 100
"""Characters up to which the value of a constant is shown."""

ROLE = re.compile(r":(func|class|data|meth|mod|attr|exc):`(~?)([\w.]+)`")

Object = griffe.Object | griffe.Alias


@cache
def package() -> griffe.Module:
    """Read the sources."""
    found = griffe.load(
        PACKAGE, search_paths=[str(SOURCES)], allow_inspection=False, resolve_aliases=True
    )
    assert isinstance(found, griffe.Module)
    return found


def names_of(module: griffe.Module) -> list[str]:
    """Return the names that a module exports: those of its ``__all__``, or its public functions.

    Constants come first, then classes, then functions, as in ``__all__``.
    """
    if module.exports:
        return [str(name) for name in module.exports]
    return [
        name
        for name, member in module.members.items()
        if not name.startswith("_") and not member.is_alias and member.is_function
    ]


def target_of(found: Object) -> griffe.Object:
    """Follow the imports to where something is defined."""
    return found.final_target if isinstance(found, griffe.Alias) else found


def exported(module: griffe.Module, name: str) -> griffe.Object:
    """Return what a module exports as `name`, also where one of its modules is named alike."""
    found = target_of(module[name])
    return target_of(found[name]) if found.is_module and name in found.members else found


@cache
def public_names() -> dict[str, str]:
    """Return the path under which each definition is public, by that of the definition.

    What several packages export belongs to the one that stands below the others.
    """
    public: dict[str, str] = {}
    first = ["theory", "models", "data", "claims", "analysis"]
    modules = [m for m in package().members.values() if m.is_module and not m.is_alias]
    modules.sort(key=lambda m: first.index(m.name) if m.name in first else len(first))
    for module in modules:
        assert isinstance(module, griffe.Module)
        for name in module.exports or ():
            public.setdefault(exported(module, str(name)).path, f"{module.path}.{name}")
    return public


def find(name: str, scope: griffe.Object) -> griffe.Object | None:
    """Find what `name` means in a docstring of `scope`."""
    try:
        if name == PACKAGE:
            return package()
        if name.startswith(f"{PACKAGE}."):
            return target_of(package()[name.removeprefix(f"{PACKAGE}.")])
        inside: griffe.Object | None = scope
        while inside is not None:
            if name in inside.members or name.partition(".")[0] in inside.members:
                return target_of(inside[name])
            inside = inside.parent if not inside.is_module else None
        for module in _modules(package()[scope.path.split(".")[1]]):  # those beside its own
            if name in module.members:
                return target_of(module[name])
    except (KeyError, griffe.AliasResolutionError):
        pass
    return None


def _modules(module: Object) -> Iterator[Object]:
    yield module
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _modules(inner)


def public_path(found: griffe.Object) -> str | None:
    """Return the path under which something is documented here, None if it is not."""
    if found.path in public_names():
        return public_names()[found.path]
    if found.parent is not None and found.parent.is_class and found.parent.path in public_names():
        return f"{public_names()[found.parent.path]}.{found.name}"
    return None


def with_full_names(text: str, scope: griffe.Object) -> str:
    """Let the roles of a docstring name what they lead to in full; without a goal, as code.

    What is of the package that the docstring belongs to is shown without it.
    """
    package_of_scope = ".".join((public_path(scope) or scope.path).split(".")[:2])

    def named(match: re.Match[str]) -> str:
        role, short, name = match.groups()
        shown = name.rpartition(".")[2] if short else name
        found = find(name, scope)
        if found is not None and found.is_module and role != "mod" and found.name in found.members:
            found = target_of(found[found.name])
        if found is None:
            if name.partition(".")[0] == PACKAGE or "." not in name:
                logger.warning("%s names %s, which there is not", scope.path, name)
            return f"``{shown}``"
        path = public_path(found)
        if path is None:
            return f"``{shown}``"
        if role != "mod":
            shown = shown.removeprefix(f"{package_of_scope}.")
        return f":py:{role}:`{shown} <{path}>`"

    return ROLE.sub(named, text)


def docstring_of(found: griffe.Object) -> str:
    """Return the docstring as reStructuredText, its sections as Sphinx knows them."""
    if found.docstring is None:
        logger.warning("%s has no docstring", found.path)
        return ""
    text = with_full_names(found.docstring.value, found)
    return "\n".join(NumpyDocstring(with_headings(text), STYLE).lines())


def with_headings(text: str) -> str:
    """Give what comes after a section without a heading of its own the one that it needs.

    >>> text = "Add.\\n\\nRaises\\n------\\nError\\n    Never.\\n\\n>>> 1 + 1\\n2"
    >>> with_headings(text).splitlines()[-4:]
    ['Examples', '--------', '>>> 1 + 1', '2']
    """
    lines = text.splitlines()
    changed: list[str] = []
    inside = prose = False
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if following and set(following) == {"-"}:
            inside = line.strip() != "Examples"
            prose = line.strip() == "Notes"
        elif inside and line and not line[0].isspace() and not lines[number - 1]:
            example = line.startswith(">>>")
            if example or not (prose or following.startswith(" ")):
                heading = "Examples" if example else "Notes"
                changed += [heading, "-" * len(heading)]
                inside = False
        changed.append(line)
    return "\n".join(changed)


def first_line(found: griffe.Object) -> str:
    """Return the first line of the docstring, which has to be a sentence of its own."""
    if found.docstring is None:
        return ""
    line, _, rest = found.docstring.value.strip().partition("\n")
    if rest and not rest.startswith("\n"):
        logger.warning("the first sentence of %s does not end on its line", found.path)
    return with_full_names(line, found)


def signature_of(found: griffe.Object) -> str:
    """Return name and parameters of a function or class, as they are written."""
    if isinstance(found, griffe.Class) and _is_tuple(found):
        return with_types(f"{found.name}({', '.join(_fields(found))})", found)
    if not isinstance(found, griffe.Function | griffe.Class):
        return found.name
    text = found.signature()
    if isinstance(found, griffe.Class) and not (text and list(found.parameters)):
        return found.name  # what it is made from, the class above it says
    # What a type checker is told of a default that is filled in, and fields for the class alone.
    text = re.sub(r"\b(\w+) = cast\(\1, None\)", r"\1 | None = None", text)
    text = re.sub(r", _\w+: [\w\[\], ]+ = \w+\(\)", "", text)
    if any(str(d.value).endswith("contextmanager") for d in _decorators(found)):
        text = re.sub(r"-> Iterator\[", "-> AbstractContextManager[", text)
    text = re.sub(r"\((?:self|cls)(?:, |(?=\)))", "(", text, count=1)
    return with_types(text, found)


def with_types(text: str, scope: griffe.Object) -> str:
    """Give types of ours their full names, and spell out what is short for one without an entry.

    Sphinx shows a full name as the short one. A type of another package that is called as one of
    ours has its full name too, or it would lead to ours: torch's `Optimizer` is no sweep's.
    """
    module = scope if isinstance(scope, griffe.Module) else scope.module
    short = {path.rpartition(".")[2] for path in public_names().values()}

    def long(name: re.Match[str]) -> str:
        member = module.members.get(name[0])
        if isinstance(member, griffe.Alias) and not member.target_path.startswith(f"{PACKAGE}."):
            return member.target_path if name[0] in short else name[0]
        if member is None:
            return name[0]
        meant = target_of(member)
        value = str(meant.value) if isinstance(meant, griffe.Attribute) else ""
        if path := public_names().get(meant.path):
            return path
        if not re.search(r"[|\[]", value) or value.startswith("npt."):  # an array's is longer
            return name[0]
        return with_types(value, meant)

    return re.sub(r"(?<![\w.])[A-Z]\w*[a-z]\w*(?![\w(])", long, text)


def _decorators(found: griffe.Object) -> list[griffe.Decorator]:
    return found.decorators if isinstance(found, griffe.Function) else []


def _is_tuple(found: griffe.Class) -> bool:
    return any(str(base) == "NamedTuple" for base in found.bases)


def _fields(found: griffe.Class) -> Iterator[str]:
    for name, member in found.members.items():
        if isinstance(member, griffe.Attribute) and member.annotation is not None:
            default = f" = {member.value}" if member.value is not None else ""
            yield f"{name}: {member.annotation}{default}"


def described(module: griffe.Module, name: str) -> list[str]:
    """Return the lines that describe what `module` exports as `name`."""
    found = exported(module, name)
    path = f"{module.path}.{name}"
    owner = public_names().get(found.path, path)
    if owner != path:
        said = f"The same as :py:obj:`{owner}`."
        return directive("py:data", name, module, [said])
    body = docstring_of(found).splitlines()
    if isinstance(found, griffe.Class):
        for member in found.members.values():
            body += ["", *_described_member(member, module)]
        raised = any(str(b).endswith(("Error", "Exception", "Interrupt")) for b in found.bases)
        kind = "py:exception" if raised else "py:class"
        return directive(kind, signature_of(found), module, body)
    if isinstance(found, griffe.Function):
        return directive("py:function", signature_of(found), module, body)
    return directive("py:data", name, module, body, _value_of(found))


def _value_of(found: griffe.Object) -> list[str]:
    """Return the option that shows the value of a constant, if that is short and written out."""
    text = str(found.value or "") if isinstance(found, griffe.Attribute) else ""
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return []
    return [f":value: {text}"] if len(text) <= SHORT_VALUE else []


def _described_member(member: Object, module: griffe.Module) -> list[str]:
    """Return the lines of a public method or property of a class that says what it is."""
    if member.is_alias or member.name.startswith("_") or member.docstring is None:
        return []
    target = target_of(member)
    body = docstring_of(target).splitlines()
    if isinstance(target, griffe.Function):
        options = [f":{how}:" for how in ("classmethod", "staticmethod") if how in target.labels]
        return directive("py:method", signature_of(target), module, body, options)
    if "property" in target.labels:
        return directive("py:property", target.name, module, body)
    return []


def directive(
    kind: str, signature: str, module: griffe.Module, body: list[str], options: list[str] = ()
) -> list[str]:
    """Return the lines of a directive of Sphinx' Python domain."""
    given = [f":module: {module.path}", *options]
    return [
        f".. {kind}:: {signature}",
        *(f"   {line}" for line in given),
        "",
        *(f"   {line}" for line in body),
        "",
    ]


def reference(module: griffe.Module) -> list[str]:
    """Return the lines of the reference of one module: its names, then each of them."""
    names = names_of(module)
    lines = [
        ".. default-role:: literal",
        "",
        f".. py:module:: {module.path}",
        "",
        *with_full_names(module.docstring.value if module.docstring else "", module).splitlines(),
        "",
        ".. list-table::",
        "   :class: api-names",
        "   :widths: 36 64",
        "",
    ]
    for name in names:
        lines += [
            f"   * - :py:obj:`{name} <{module.path}.{name}>`",
            f"     - {first_line(exported(module, name))}",
        ]
    lines.append("")
    for name in names:
        lines += described(module, name)
    return lines


class Api(SphinxDirective):
    """The directive; its argument is the module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the reference, parsed as reStructuredText."""
        name = self.arguments[0]
        try:
            module = target_of(package()[name.removeprefix(f"{PACKAGE}.")])
        except KeyError:
            raise self.error(f"there is no module {name}") from None
        assert isinstance(module, griffe.Module)
        for path in SOURCES.joinpath(*module.path.split(".")).parent.rglob("*.py*"):
            if path.suffix in (".py", ".pyi"):
                self.env.note_dependency(str(path))
        lines = ["``````{eval-rst}", *reference(module), "``````"]
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, parent)
        return parent.children


def resolve_type(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, shown: nodes.Element
) -> nodes.Node | None:
    """Resolve the name of a type in a signature that is no class of ours."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py":
        return None
    if target.startswith(f"{PACKAGE}."):
        return link_to(app, env, node["refdoc"], target, shown)
    written = find_pending_xref_condition(node, "*")
    return written[0] if written else shown  # with its module, if that is written


def link_to(
    app: Sphinx, env: BuildEnvironment, page: str, path: str, shown: nodes.Element
) -> nodes.Node | None:
    """Return a link from a page to where `path` is described; None if it is not."""
    domain = env.get_domain("py")
    assert isinstance(domain, PythonDomain)
    entry = domain.objects.get(path)
    if entry is None:
        return None
    return make_refnode(app.builder, page, entry.docname, entry.node_id, [shown])


class LinkNames(SphinxPostTransform):
    """Let public names that stand in the text as code lead to the reference."""

    default_priority = 400

    def run(self, **kwargs: Any) -> None:
        """Replace them, but for those that a link already holds."""
        if self.app.builder.format != "html":
            return
        by_name: dict[str, set[str]] = {}
        for path in public_names().values():
            by_name.setdefault(path, set()).add(path)
            name = path.rpartition(".")[2]
            if "_" in name.strip("_") or name.endswith("_") or re.search("[a-z][A-Z]", name):
                by_name.setdefault(name, set()).add(path)
        for literal in list(self.document.findall(nodes.literal)):
            goals = by_name.get(literal.astext().removesuffix("()"), set())
            inside = (nodes.reference, addnodes.pending_xref, nodes.title)
            if len(goals) != 1 or any(isinstance(p, inside) for p in _parents(literal)):
                continue
            (path,) = goals
            link = link_to(self.app, self.env, self.env.docname, path, literal.deepcopy())
            if link is not None:
                literal.replace_self(link)


def _parents(node: nodes.Node) -> Iterator[nodes.Node]:
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


def name_in_short(app: Sphinx, config: SphinxConfig) -> None:
    """Leave out the module where the page names it, and the class in the contents of a page."""
    config.toc_object_entries_show_parents = "hide"
    config.add_module_names = False


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("api", Api)
    app.add_post_transform(LinkNames)
    app.connect("config-inited", name_in_short)
    app.connect("missing-reference", resolve_type)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
