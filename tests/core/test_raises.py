"""The section Raises of every public function names each kind of error that stands in its body."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import kerasdl
from kerasdl.core import checks, errors

ROOT = Path(kerasdl.__file__).parent
KINDS = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
CHECKS = {name for name, check in vars(checks).items() if inspect.isfunction(check)}


def public():
    for stub in sorted(ROOT.glob("*/**/__init__.pyi")):
        package = ".".join(["kerasdl", *stub.parent.relative_to(ROOT).parts])
        for node in ast.parse(stub.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from (getattr(importlib.import_module(package), alias.name) for alias in node.names)


def documented():
    """Pairs the docstring of each public function and method, or else that of its class, with its code."""
    for thing in {each for each in public() if inspect.isfunction(each) or inspect.isclass(each)}:
        if not thing.__module__.startswith("kerasdl"):
            continue
        tree = ast.parse(Path(inspect.getsourcefile(inspect.unwrap(thing))).read_text())
        private = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for node in tree.body:
            if getattr(node, "name", None) == thing.__name__:
                methods = [each for each in ast.walk(node) if isinstance(each, ast.FunctionDef)]
                for each in methods if isinstance(node, ast.ClassDef) else [node]:
                    text = ast.get_docstring(each) or ast.get_docstring(node)
                    if each is node or not each.name.startswith("_"):
                        yield f"{thing.__module__}:{thing.__name__}.{each.name}", text or "", raised(each, private)


def raised(code, private):
    """Returns the kinds that a function raises, by `raise` or by a check, and its private helpers one step down."""
    found = set()
    for node in ast.walk(code):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in KINDS:
            found.add(called.id)
        elif isinstance(called, ast.Name) and called.id.startswith("_") and called.id in private:
            found |= raised(private[called.id], {})
        elif isinstance(called, ast.Attribute) and getattr(called.value, "id", None) == "checks":
            assert called.attr in CHECKS
            if called.attr != "warn":
                found.add("UnknownNameError" if called.attr == "known_name" else "ArgumentError")
    return found


@pytest.mark.parametrize(("name", "text", "kinds"), sorted(documented(), key=lambda each: each[0]))
def test_what_is_raised_is_documented(name, text, kinds):
    section = text.partition("Raises:")[2].partition("Example:")[0]
    assert not {kind for kind in kinds if kind not in section}, f"{name} raises more than its docstring says"


def test_a_kind_is_found_in_the_body_in_checks_and_one_helper_down():
    code = """
def _helper():
    raise DataError("...")
def public(x):
    checks.at_least("x", x, 1)
    _helper()
    raise errors_of(x) from BundleError("...")
"""
    helper, function = ast.parse(code).body
    assert raised(function, {"_helper": helper}) == {"ArgumentError", "DataError", "BundleError"}
