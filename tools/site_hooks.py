"""Hooks of mkdocs: README as a page, a page of the API for each package, and the files that pages link to.

Links that leave docs/ (`../kerasdl/train/trainer.py`) lead on the site to copies below source/, so that every link of a
page works both there and in the repository. Nothing of kerasdl is imported: names come from the stubs.
"""

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kerasdl"
LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)]*)?\)")


def on_config(config):
    """Adds the pages of the API to the navigation."""
    config.nav.append({"API": [{name: page} for name, page in _api_pages()]})
    return config


def on_files(files, config):
    """Adds README, the pages of the API and the linked files."""
    readme = (ROOT / "README.md").read_text()
    readme = re.sub(r"\]\(docs/", "](", readme)
    readme = re.sub(r"\]\(((?!https?:|#)[^)]+)\)", lambda m: m[0] if _in_docs(m[1]) else f"](../{m[1]})", readme)
    files.append(File.generated(config, "readme.md", content=readme.replace("# kerasdl\n", "# Read me first\n", 1)))
    for package, page in _api_pages():
        files.append(File.generated(config, page, content=_api_text(package)))
    pages = [(ROOT / "docs" / file.src_uri) for file in files.documentation_pages() if not file.generated_by]
    texts = [readme, *(page.read_text() for page in pages)]
    for target in sorted({posixpath.normpath(match[1]) for text in texts for match in LINK.finditer(text)}):
        path = (ROOT / "docs" / target).resolve()
        if path.exists():
            content = path.read_text() if path.is_file() else "\n".join(sorted(each.name for each in path.iterdir()))
            files.append(File.generated(config, _copy(target), content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leads links that leave docs/ to the copies; one without a copy stays, and mkdocs reports it."""
    depth = "../" * page.file.src_uri.count("/")
    names = files.src_uris

    def moved(match):
        copy = _copy(posixpath.normpath(match[1]))
        return f"]({depth}{copy})" if copy in names else match[0]

    return LINK.sub(moved, markdown)


def _copy(target: str) -> str:
    return "source/" + target.removeprefix("../") + ".txt"


def _in_docs(target: str) -> bool:
    return (ROOT / "docs" / target.partition("#")[0]).exists()


def _api_pages() -> list[tuple[str, str]]:
    """Returns each package with public names, and its page."""
    names = []
    for stub in sorted(PACKAGE.rglob("__init__.pyi")):
        name = ".".join(["kerasdl", *stub.parent.relative_to(PACKAGE).parts])
        if name != "kerasdl" and _public(name):
            names.append(name)
    return [(name, f"api/{name}.md") for name in names]


def _public(package: str) -> dict[str, str]:
    """Returns the public names of a package with the module in which each is written."""
    folder = ROOT.joinpath(*package.split("."))
    found = {}
    for node in ast.parse((folder / "__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 1:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{package}.{node.module}.{alias.name}"
    return found


def _api_text(package: str) -> str:
    first = ast.get_docstring(ast.parse((ROOT.joinpath(*package.split(".")) / "__init__.py").read_text())) or ""
    parts = [f"# {package}", first]
    for name, place in sorted(_public(package).items(), key=lambda each: each[0].lower()):
        original = _original(place)
        if original.startswith("kerasdl."):
            parts.append(f"::: {original}\n    options:\n      heading: {package}.{name}\n      toc_label: {name}")
        else:
            parts.append(f"## {package}.{name}\n\n`{original}` of that library.")
    return "\n\n".join(parts) + "\n"


def _original(place: str) -> str:
    """Returns where a name is written, following imports from file to file."""
    module, _, name = place.rpartition(".")
    path = ROOT.joinpath(*module.split("."))
    choices = (path.with_suffix(".py"), path / "__init__.pyi", path / "__init__.py")
    source = next(choice for choice in choices if choice.exists())
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    parts = module.split(".") if source.stem == "__init__" else module.split(".")[:-1]
                    base = [*parts[: len(parts) - node.level + 1]] if node.level else []
                    target = ".".join([*base, *filter(None, [node.module]), alias.name])
                    return _original(target) if target.startswith("kerasdl.") else target
    return place
