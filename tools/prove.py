"""Runner of all rows of the contract, exporters, bridge and QAT included, for chosen, changed or all nets.

    make prove NAMES="resnet18 vit_tiny"    these
    make prove SINCE=v1.2                   those whose code, tiny preset or promises changed since a commit
    make prove                              all

Beside the tiny nets, the smallest of them in each family is exported, bridged and quantised at full size.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kerasdl

ROOT = Path(__file__).parents[1]
INDEX = "kerasdl/core/registry/index.json"
# What every net stands on: a change there is no change of a net.
BELOW = ("kerasdl/core/", "kerasdl/data/", "kerasdl/__init__")
ROWS = ("tests/contract", "tests/contract/full_size.py", "tests/deploy/keras2/test_legacy_models.py")


def changed_nets(since: str) -> list[str]:
    """Returns the nets with a changed index entry, builder or import since a commit."""
    files = set(_git("diff", "--name-only", since).splitlines())
    files |= set(_git("ls-files", "--others", "--exclude-standard").splitlines())
    before = json.loads(_git("show", f"{since}:{INDEX}"))["models"]
    after = json.loads((ROOT / INDEX).read_text())["models"]
    return [
        name
        for name in kerasdl.list_models()
        if before.get(name) != after[name] or files & _modules(kerasdl.spec(name).builder.partition(":")[0])
    ]


def _modules(module: str) -> frozenset[str]:
    """Returns the files of a module and of all kerasdl modules that it imports, directly or not."""
    found, left = set(), {module}
    while left:
        path = _file_of(left.pop())
        if path and path not in found and not path.startswith(BELOW):
            found.add(path)
            left |= _imports(path)
    return frozenset(found)


@cache
def _imports(path: str) -> frozenset[str]:
    """Returns the modules that a file imports; a name of a package is replaced by the module that defines it."""
    found = set()
    for module, name in _imported(path):
        if _file_of(f"{module}.{name}"):
            found.add(f"{module}.{name}")
        else:
            found.add(_offers(module).get(name, module))
    return frozenset(each for each in found if each.startswith("kerasdl"))


def _imported(path: str) -> Iterator[tuple[str, str]]:
    """Yields module and name of what a file imports."""
    package = Path(path).parent.parts
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            yield from ((base, alias.name) for alias in node.names)


@cache
def _offers(package: str) -> dict[str, str]:
    """Returns the module of each name in a package's stub."""
    stub = f"{package.replace('.', '/')}/__init__.pyi"
    return {name: module for module, name in _imported(stub)} if (ROOT / stub).exists() else {}


@cache
def _file_of(module: str) -> str | None:
    path = ROOT / module.rstrip(".").replace(".", "/")
    for each in (path.with_suffix(".py"), path / "__init__.py"):
        if each.exists():
            return str(each.relative_to(ROOT))
    return None


def smallest_of_families(names: list[str]) -> list[str]:
    """Returns the net with the fewest weights of each family."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda each: kerasdl.spec(each).params):
        found.setdefault(kerasdl.spec(name).family, name)
    return sorted(found.values())


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"git {' '.join(arguments)}: {run.stderr.strip()}")
    return run.stdout


def main() -> None:
    """Runs pytest over the requested nets; returns its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--names", default="", help="names of nets, with spaces between")
    parser.add_argument("--since", default="", help="a commit")
    asked = parser.parse_args()
    names = asked.names.split() or (changed_nets(asked.since) if asked.since else kerasdl.list_models())
    names = sorted({kerasdl.spec(name).name for name in names})
    if not names:
        print(f"No net changed since {asked.since}.")
        return
    in_full = smallest_of_families(names)
    print(f"{len(names)} nets: {', '.join(names)}\nat full size: {', '.join(in_full)}", flush=True)
    environment = {**os.environ, "KERASDL_PROVE": " ".join(names), "KERASDL_PROVE_IN_FULL": " ".join(in_full)}
    command = ["-m", "pytest", *ROWS, "-k", "not legacy_models or registered", "-n", "2", "--dist", "loadfile"]
    sys.exit(subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
