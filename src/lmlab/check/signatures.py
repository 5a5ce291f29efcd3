"""What a `_target_` takes, read from its source by `ast`: nothing is imported, so nothing is run or slow."""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ALLOWED = (
    "lmlab",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "torch.optim",
)
Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Found:
    """A class or function, and the module whose source defines it."""

    module: str
    node: Definition


@dataclass(frozen=True)
class Signature:
    """The named parameters of a target with their annotations and defaults; `open` if it takes any keyword."""

    annotations: dict[str, ast.expr | None]
    defaults: dict[str, ast.expr | None]
    open: bool


@lru_cache
def allowed(target: str) -> bool:
    """Whether a config may call `target`: lmlab's own parts, and Lightning's and torch's few that configs name.

    A name that a module merely imported (`lmlab.worker.os.system`) is judged by where it is defined.
    """
    listed = any(target == name or target.startswith(f"{name}.") for name in ALLOWED)
    found = find(target) if listed else None
    return found is not None and found.module.split(".")[0] == target.split(".")[0]


def signature(target: str) -> Signature | None:
    """The signature of a function, or of a class's own or inherited constructor; None where it cannot be read.

    A constructor of lmlab that takes `**parts` hands them on: what its base takes is known too.
    """
    found = find(target)
    if found is None:
        return None
    if isinstance(found.node, ast.ClassDef):
        if methods := list(constructors(found)):
            return joined([parameters(method, skip=1) for method in methods])
        return None if found.node.bases else Signature({}, {}, open=False)
    return parameters(found.node)


def constructors(found: Found) -> Iterator[ast.FunctionDef]:
    """`__init__`, its own or that of the nearest base whose source can be read, and those that it hands `parts` to."""
    for statement in found.node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            yield statement
            if statement.args.kwarg is None or statement.args.kwarg.arg != "parts":
                return
    for base in getattr(found.node, "bases", ()):
        parent = within(found.module, ast.unparse(base).partition("[")[0].split("."))
        if parent is not None and isinstance(parent.node, ast.ClassDef) and (methods := list(constructors(parent))):
            yield from methods
            return


def joined(handed_on: list[Signature]) -> Signature:
    """What constructors take that hand on to one another, the first one's word before the later ones'."""
    taken = handed_on[-1]
    for own in reversed(handed_on[:-1]):
        taken = Signature(taken.annotations | own.annotations, taken.defaults | own.defaults, taken.open)
    return taken


def parameters(function: ast.FunctionDef, skip: int = 0) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    values = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    keyword = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    named = [*zip(positional, values, strict=True)][skip:] + [*keyword]
    return Signature(
        annotations={argument.arg: argument.annotation for argument, _ in named},
        defaults={argument.arg: default for argument, default in named},
        open=arguments.kwarg is not None,
    )


@lru_cache
def find(target: str) -> Found | None:
    """The definition that a dotted path leads to, through re-exports."""
    parts = target.split(".")
    for length in range(len(parts) - 1, 0, -1):
        if module_file(".".join(parts[:length])) is not None:
            return within(".".join(parts[:length]), parts[length:])
    return None


def within(module: str, names: list[str]) -> Found | None:
    """The definition of `names[0].names[1]...` as seen from inside `module`."""
    if (tree := parsed(module)) is None:
        return None
    name, rest = names[0], names[1:]
    for statement in top_level(tree):
        if isinstance(statement, Definition) and statement.name == name:
            return member(Found(module, statement), rest)
        if isinstance(statement, ast.ImportFrom):
            source = absolute(module, statement)
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    submodule = f"{source}.{alias.name}"
                    if rest and module_file(submodule):
                        return within(submodule, rest)
                    return within(source, [alias.name, *rest])
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.asname == name and rest:
                    return within(alias.name, rest)
                if alias.asname is None and alias.name.split(".")[0] == name and rest:
                    return find(".".join(names))
    return None


def member(found: Found, names: list[str]) -> Found | None:
    """A function inside a class, as in `Class.from_file`."""
    for name in names:
        inside = (part for part in found.node.body if isinstance(part, Definition) and part.name == name)
        node = next(inside, None)
        if node is None:
            return None
        found = Found(found.module, node)
    return found


def top_level(tree: ast.AST) -> Iterator[ast.stmt]:
    """A module's statements, those under `if` and `try` too."""
    for statement in getattr(tree, "body", ()):
        if isinstance(statement, ast.If | ast.Try):
            yield from top_level(statement)
        else:
            yield statement


def absolute(module: str, statement: ast.ImportFrom) -> str:
    """The module that `from ..a import b` names."""
    if statement.level == 0:
        return statement.module or ""
    file = module_file(module)
    package = module.split(".") if file is not None and file.name == "__init__.py" else module.split(".")[:-1]
    kept = package[: len(package) - statement.level + 1]
    return ".".join([*kept, *([statement.module] if statement.module else [])])


@lru_cache
def module_file(module: str) -> Path | None:
    """The source file of a module, found from its top-level package without importing any."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    place = Path(spec.origin).parent.joinpath(*rest)
    return next((file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()), None)


@lru_cache
def parsed(module: str) -> ast.Module | None:
    file = module_file(module)
    return None if file is None else ast.parse(file.read_text(encoding="utf-8"))
