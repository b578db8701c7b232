"""Checks of snippets that do not run them: imports, names, arguments, commands, options, files and make targets."""

import ast
import builtins
import importlib
import inspect
import re
import shlex
import types
import typing
from pathlib import Path

import typer.main

import kerasdl
from kerasdl.cli.commands import app

ROOT = Path(__file__).parents[2]
CLI = typer.main.get_command(app)
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
# Programs that a page may use beside ours; their options are theirs.
OTHERS = {"pip", "srun", "git", "tensorboard", "ls", "mkdocs"}

# What a call inside the text may be made of, so that it is taken for one of ours.
OWNERS = {"kerasdl", "train", "deploy", "data", "augment", "schedules", "tracking", "losses", "metrics", "bundle"}


class AnyName(set):
    """A set that every name is in, of a function whose keywords are not declared."""

    def __rsub__(self, other):
        return set()


class Unknown:
    """Stands for a value of which nothing is known before the run."""


def check_command(line: str, page: str = "") -> None:
    """Raises AssertionError unless program, options and files exist; files may be those that `page` tells to write."""
    words = shlex.split(line)
    while "=" in words[0] and words[0].partition("=")[0].isupper():
        words = words[1:]
    if words[0] == "kerasdl":
        assert len(words) > 1, f"{line}: which command?"
        if words[1].startswith("-"):
            return
        command, rest = CLI, words[1:]
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, f"{line}: no such command"
            command, *rest = command.commands[rest[0]], *rest[1:]
        try:
            command.make_context(command.name, rest)
        except typer.Exit:  # --help
            pass
        except Exception as error:
            raise AssertionError(f"{line}: {error}") from error
    elif words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert set(targets) <= TARGETS, f"{line}: no such target"
    elif words[0].rpartition("/")[2] == "python":
        named = [word for word in words[1:] if word.endswith(".py") and "/" in word]
        assert all((ROOT / word).exists() or f"`{word}`" in page for word in named), f"{line}: no such file"
    else:
        assert words[0] in OTHERS, f"{line}: an unknown program"


def check_call(function, call: ast.Call, where: str) -> None:
    """Raises AssertionError unless `function` takes this many positional arguments and these names."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    if any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords):
        return
    if any(isinstance(a, ast.Constant) and a.value is ... for a in call.args):
        bind = signature.bind_partial
        call = ast.Call(call.func, [], call.keywords)
    else:
        bind = signature.bind
    try:
        bind(*call.args, **{keyword.arg: None for keyword in call.keywords})
    except TypeError as error:
        raise AssertionError(f"{where}: {ast.unparse(call.func)}: {error}") from error
    slips = {keyword.arg for keyword in call.keywords} - {*signature.parameters} - further_options(function, signature)
    assert not slips, f"{where}: {ast.unparse(call.func)} has no option {slips}"


def further_options(function, signature: inspect.Signature) -> set[str]:
    """Returns the names that `**options: Unpack[...]` takes; a call is judged by them."""
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            try:
                hint = typing.get_type_hints(inspect.unwrap(getattr(function, "__func__", function))).get(name)
            except (NameError, TypeError):
                return AnyName()
            return {*typing.get_type_hints(typing.get_args(hint)[0])} if typing.get_args(hint) else AnyName()
    return set()


def returned(function):
    """Returns the class that a call of `function` gives, as far as it is declared."""
    if inspect.isclass(function):
        return function
    if hasattr(function, "__wrapped__"):  # what a decorator makes of it, such as a bundle for a bundle
        return Unknown
    try:
        kind = typing.get_type_hints(inspect.unwrap(function)).get("return", Unknown)
    except (NameError, TypeError, AttributeError):
        return Unknown
    return kind if inspect.isclass(kind) else Unknown


class Reader(ast.NodeVisitor):
    """Follows a page's Python from block to block: known names and, where declared, what they hold."""

    def __init__(self, given: dict):
        self.names: dict = {**vars(builtins), **given}
        self.where = ""

    def read(self, code: str, where: str) -> None:
        self.where = where
        tree = ast.parse(code)
        for node in ast.walk(tree):  # names that functions, classes, loops and `with` bind
            if isinstance(node, ast.arg):
                self.names.setdefault(node.arg, Unknown)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.names.setdefault(node.id, Unknown)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.names[node.name] = Unknown
        for statement in tree.body:
            self.visit(statement)

    def visit_Import(self, node):
        for alias in node.names:
            module = importlib.import_module(alias.name)
            name = alias.asname or alias.name.partition(".")[0]
            self.names[name] = module if alias.asname else importlib.import_module(name)

    def visit_ImportFrom(self, node):
        module = importlib.import_module(node.module)
        for alias in node.names:
            assert hasattr(module, alias.name), f"{self.where}: {node.module} has no {alias.name}"
            self.names[alias.asname or alias.name] = getattr(module, alias.name)

    def visit_Assign(self, node):
        self.visit(node.value)
        value = self.value(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.names[target.id] = value
            else:
                self.visit(target)

    def visit_Name(self, node):
        assert node.id in self.names, f"{self.where}: {node.id} comes from nowhere"

    def visit_Attribute(self, node):
        self.visit(node.value)
        self.value(node)

    def visit_Call(self, node):
        self.generic_visit(node)
        function = self.value(node.func)
        if function is not Unknown and callable(function):
            check_call(function, node, self.where)

    def value(self, node):
        """Returns what an expression holds: an object, an instance (as `Held`), or Unknown."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, Unknown)
        if isinstance(node, ast.Call):
            function = self.value(node.func)
            kind = returned(function) if callable(function) else Unknown
            return Unknown if kind in (Unknown, type(None)) or not _ours(kind) else Held(kind)
        if isinstance(node, ast.Attribute):
            return self.attribute(self.value(node.value), node.attr)
        return Unknown

    def attribute(self, owner, name):
        if isinstance(owner, types.ModuleType):
            assert hasattr(owner, name), f"{self.where}: {owner.__name__} has no {name}"
            return getattr(owner, name)
        if isinstance(owner, Held):
            known = {*dir(owner.kind), *getattr(owner.kind, "__dataclass_fields__", ()), *_made_by_methods(owner.kind)}
            assert name in known, f"{self.where}: {owner.kind.__name__} has no {name}"
            found = inspect.getattr_static(owner.kind, name, Unknown)
            return types.MethodType(found, owner) if inspect.isfunction(found) else Unknown
        if inspect.isclass(owner) and owner is not Unknown:
            assert hasattr(owner, name), f"{self.where}: {owner.__name__} has no {name}"
            return getattr(owner, name)
        return Unknown


def _made_by_methods(kind: type) -> set[str]:
    """Returns the attributes that methods of our own classes give to `self`."""
    lines = [line for each in kind.__mro__ if _ours(each) for line in inspect.getsource(each).splitlines()]
    given = [line.partition(" = ")[0] for line in lines if line.lstrip().startswith("self.") and " = " in line]
    return {name for left in given for name in re.findall(r"self\.(\w+)", left)}


class Held:
    """An instance of a class, of which only the class is known."""

    def __init__(self, kind):
        self.kind = kind


def _ours(kind) -> bool:
    return (kind.__module__ or "").startswith("kerasdl")


def public() -> dict[str, list]:
    """Returns every public name of kerasdl, methods included, with the objects that bear it."""
    found: dict[str, list] = {}
    package = Path(kerasdl.__file__).parent
    for stub in package.rglob("__init__.pyi"):
        module = importlib.import_module(".".join(["kerasdl", *stub.parent.relative_to(package).parts]))
        for name in module.__all__:
            found.setdefault(name, []).append(getattr(module, name))
    for kind in [each for known in found.values() for each in known if inspect.isclass(each) and _ours(each)]:
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            found.setdefault(name, []).append(method)
    return found


def check_inline(code: str, names: dict[str, list], where: str) -> None:
    """Raises AssertionError for a command, or for a call of a public name, that does not fit."""
    if re.match(r"(kerasdl|make|python) [\w-]", code) and not re.search(r"[|<>\[…]|\.\.\.|[A-Z]{3,}(?!=)", code):
        return check_command(code if len(code.split()) > 2 else f"{code} --help" if code[0] == "k" else code)
    try:
        tree = ast.parse(code, mode="eval")
    except SyntaxError:
        return None
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name | ast.Attribute):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else "kerasdl"
        known = [each for each in names.get(name, ()) if callable(each)]
        if known and owner.partition(".")[0] in OWNERS:
            errors = [error for each in known if (error := keyword_errors(each, call))]
            assert len(errors) < len(known), f"{where}: {code}: {errors[0]}"
    return None


def keyword_errors(function, call: ast.Call) -> str:
    """Returns the complaint about the names of a call's arguments; text leaves out positional ones at will."""
    try:
        inspect.signature(function).bind_partial(**{k.arg: None for k in call.keywords if k.arg})
    except (TypeError, ValueError) as error:
        return str(error)
    return ""
