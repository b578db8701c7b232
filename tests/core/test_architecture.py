"""Import rules between packages and rooms, and limits on the length of files and functions, read from the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kerasdl.core.registry.index import load_index
from kerasdl.core.registry.indexing import TOOLS, families

ROOT = Path(__file__).parents[2] / "kerasdl"
FILES = sorted(ROOT.rglob("*.py"))
LEVELS = {
    "core": 0,
    "ops": 1,
    **dict.fromkeys(("layers", "losses", "metrics", "data"), 2),
    "blocks": 3,
    "train": 4,
    **dict.fromkeys(("vision", "sequence", "generative", "rl", "graph", "recsys", "meta", "tabular", "multimodal"), 5),
    **dict.fromkeys(("deploy", "explain", "responsible", "search"), 6),
    **dict.fromkeys(("bundles", "weights", "serving", "cli"), 7),
    "foundations": 7,  # NumPy alone; see ALONE
}
# What a package may import of kerasdl beyond its level, and one that may import none of it.
ALSO = {"multimodal": ("vision", "sequence")}
ALONE = "foundations"
# Blocks know no loss, metric or data; tools of level 6 take any keras.Model, so they know no family.
FORBIDDEN = {3: ("losses", "metrics", "data"), 6: tuple(name for name, level in LEVELS.items() if level == 5)}
# Rooms of a package, and the rooms of the same package that each may import; files beside the rooms stand in "".
ROOMS = {
    "core": {
        "errors": (),
        "wording": (),
        "files": (),
        "memory": (),
        "safetensors": ("errors", "files"),
        "child_process": (),
        "checks": ("errors",),
        "refusals": ("errors",),
        "startup": ("errors",),
        "objects": ("checks",),
        "seed": ("checks",),
        "data_fit": ("checks",),
        "keywords": ("checks",),
        "keras_graph": ("checks",),
        "model_carrier": (),
        "plotting": ("files",),
        "display": ("checks", "objects", "plotting"),
        "outputs": ("checks",),
        "registry": ("checks", "data_fit", "errors", "files", "keras_graph", "keywords", "outputs"),
    },
    "data": {
        "augment": (),
        "image_files": (),
        "pipelines": (),
        "splits": (),
        "trees": (),
        "letterboxing": ("trees",),
        "images": ("image_files", "letterboxing"),
        "sources": ("images", "trees"),
        "batching": ("augment", "images", "sources", "trees"),
        "example_access": ("images", "trees"),
        "dataset": ("batching", "example_access", "images", "pipelines", "sources", "trees"),
        "adapters": ("dataset", "sources", "trees"),
        "model_fit": ("dataset", "folders", "trees"),
        "length_batches": ("batching", "dataset", "images", "sources", "trees"),
        "resampling": ("dataset", "trees"),
        "tfds_source": ("dataset", "sources"),
        "builtin": ("dataset", "sources", "splits"),
        "folders": ("dataset", "image_files", "images", "sources", "splits"),
        "detection": (
            *("builtin", "dataset", "folders", "image_files", "images", "letterboxing", "sources"),
            *("splits", "trees"),
        ),
        "segmentation": (
            *("dataset", "detection", "folders", "image_files", "images", "sources", "splits", "tfds_source"),
            "trees",
        ),
        "text": ("adapters", "dataset", "folders", "sources", "splits"),
        "series": ("builtin", "dataset", "sources", "splits"),
        "listing": ("builtin", "detection", "folders", "segmentation", "series", "text"),
        "loading": (
            *(
                "builtin",
                "dataset",
                "detection",
                "folders",
                "image_files",
                "images",
                "listing",
                "segmentation",
                "series",
            ),
            *("splits", "text", "tfds_source"),
        ),
    },
    "train": {
        "loop": (),
        "optim": (),
        "trainer": (),
        "distribute": ("loop", "optim", "trainer"),
        "config": ("loop", "optim", "distribute"),
        "objectives": ("config",),
        "engine": ("loop", "optim", "trainer", "distribute", "config", "objectives"),
        "tracking": ("loop",),
        "evaluation": ("loop", "config"),
        "methods": ("loop", "optim", "trainer", "distribute", "config", "engine"),
        "diagnostics": ("loop", "optim", "trainer", "distribute", "config", "objectives", "engine"),
        "schedules": ("optim",),
    },
    "deploy": {
        "samples": (),
        "formulas": (),
        "export": ("samples", "formulas"),
        "tfmot": ("export",),
        "tflite": ("samples", "formulas", "export"),
        "onnx": ("samples", "formulas", "export"),
        "runtimes": ("samples", "export", "tflite", "onnx"),
        "postprocessing": ("samples", "export", "tflite", "onnx", "runtimes"),
        "profiling": ("samples", "export", "runtimes"),
        "keras2": ("samples", "export"),
        "migration": ("export", "keras2"),
        "quantization": ("samples", "export", "tflite", "keras2", "tfmot"),
        "compression": ("samples", "export", "tflite", "keras2", "tfmot", "profiling"),
    },
    "bundles": {
        "format": (),
        "card": ("listing",),
        "embedded": (),
        "hosts": (),
        "operations": ("format", "hosts"),
        "calibrating": ("format", "operations"),
        "bundle": ("calibrating", "card", "format", "operations"),
        "listing": ("format",),
        "locating": ("format", "listing"),
        "inspection": ("format", "listing", "locating"),
        "loading": ("bundle", "format", "locating"),
        "resizing": ("bundle", "operations"),
    },
}
SKIPPED = {"__init__", "__pycache__"}
# path: why it may be longer than 400 lines; (path, function): why longer than 60.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[tuple[str, str], str] = {}
# core/registry/indexing.py imports the families by name at run time, as registry discovery must; it alone may.


def test_every_package_has_a_level_and_what_holds_models_is_a_family():
    packages = {each.parent.name for each in ROOT.glob("*/__init__.py")}
    assert packages <= set(LEVELS)
    assert set(families()) == {name for name in packages if LEVELS[name] == 5}
    assert {*TOOLS} == {name for name, level in LEVELS.items() if level != 5}


def test_the_table_of_levels_knows_the_exceptions():
    assert may_import("multimodal", "vision")
    assert not may_import("vision", "multimodal")
    assert not may_import("foundations", "core")
    assert not may_import("cli", "foundations")


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else "kerasdl"


def imported_modules(node: ast.AST, path: Path) -> list[str]:
    """Names the absolute modules that an import statement reaches."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = ["kerasdl", *path.relative_to(ROOT).parts[:-1]]
        base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def may_import(importer: str, imported: str) -> bool:
    if importer == "kerasdl":  # the door imports core; __main__ is the command line
        return imported in ("core", "cli")
    if importer == imported:
        return True
    if ALONE in (importer, imported):
        return False
    if imported in ALSO.get(importer, ()):
        return True
    mine, its = LEVELS[importer], LEVELS[imported]
    if mine == 7:
        return True
    return its < mine and imported not in FORBIDDEN.get(mine, ())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for module in imported_modules(node, path):
            parts = module.split(".")
            if parts[0] == "kerasdl" and len(parts) > 1 and parts[1] in LEVELS:
                assert may_import(package_of(path), parts[1]), f"{path.name}:{node.lineno} imports {module}"
            if parts[0] in ("tf_keras", "tensorflow_model_optimization"):
                assert package_of(path) == "deploy", f"{path.name}:{node.lineno} imports {module}"
            assert module != "tensorflow.keras", f"{path.name}:{node.lineno}: import keras, not tf.keras"
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                for module in imported_modules(node, path):
                    assert not module.startswith("kerasdl"), f"{path.name}:{node.lineno}: import at the top"


def room_of(module: str) -> tuple[str, str] | None:
    """Returns the package and the room of a module, None outside the packages that have rooms."""
    parts = module.split(".")
    return (parts[1], parts[2]) if len(parts) > 2 and parts[0] == "kerasdl" and parts[1] in ROOMS else None


def misplaced(path: Path, tree: ast.AST) -> list[str]:
    """Names the imports that lead from a file into a room that its own may not import."""
    own = room_of(".".join(["kerasdl", *path.relative_to(ROOT).with_suffix("").parts]))
    found = []
    for node in ast.walk(tree):
        for module in imported_modules(node, path):
            there = room_of(module)
            if own and there and own[0] == there[0] and own[1] != there[1] and there[1] in ROOMS[own[0]]:
                found += [] if there[1] in ROOMS[own[0]].get(own[1], ()) else [f"{path.name}:{node.lineno}: {module}"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_between_rooms_go_one_way(path):
    assert not misplaced(path, ast.parse(path.read_text()))


def test_every_room_is_in_the_table_and_no_arrow_returns():
    for package, rooms in ROOMS.items():
        there = {each.stem for each in (ROOT / package).iterdir() if each.suffix == ".py" or each.is_dir()} - SKIPPED
        assert set(rooms) == there
        for room, reached in rooms.items():
            assert not any(room in rooms[each] for each in reached), f"{package}: {room} and back"


def test_both_tables_of_the_design_page_are_these():
    page = (ROOT.parent / "docs" / "design.md").read_text()
    levels = {
        name: int(level) for level, names in re.findall(r"^L(\d) (\S.*?)  ", page, re.M) for name in names.split(", ")
    }
    assert levels == {name: level for name, level in LEVELS.items() if (ROOT / name).is_dir()}
    rows = re.findall(r"^(\w+)/(\w+)(?:\.py)? +([\w ,]+?)(?::.*)?$", page, re.M)
    written = {(package, room): set(reached.split(", ")) for package, room, reached in rows}
    for (package, room), reached in written.items():
        assert reached == (set(ROOMS[package][room]) or {f"nothing of {package}"}), f"{package}/{room}"
    folders = {(package, room) for package in ROOMS for room in ROOMS[package] if (ROOT / package / room).is_dir()}
    assert folders - {("bundles", "embedded")} <= set(written)


def test_the_table_of_rooms_sees_a_wrong_arrow():
    """The rule can fail: the loop, which knows no model, would be seen to import fit."""
    tree = ast.parse("from ..engine.fitting import fit")
    assert misplaced(ROOT / "train" / "loop" / "runner.py", tree)
    assert not misplaced(ROOT / "train" / "methods" / "finetuning.py", tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_hold_one_idea(path):
    name, text = str(path.relative_to(ROOT)), path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{name} does not say what it is for"
    assert len(text.splitlines()) <= 400 or name in LONG_FILES
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"{name}:{node.lineno}: raise an error that says what to do"
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            assert length <= 60 or (name, node.name) in LONG_FUNCTIONS, f"{name}: {node.name} has {length} lines"


def docstring_lines(node: ast.FunctionDef) -> int:
    first = node.body[0]
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return first.end_lineno - first.lineno + 1 if is_text else 0


@pytest.mark.parametrize(
    ("source", "module"),
    [("from kerasdl.data import load", "data"), ("from ..vision import x", "vision"), ("import kerasdl.cli", "cli")],
)
def test_the_walk_sees_an_upward_import(source, module):
    """The rule can fail: each of these in a block would be found."""
    node = ast.parse(source).body[0]
    found = imported_modules(node, ROOT / "blocks" / "new.py")
    assert any(name.split(".")[1:2] == [module] for name in found)
    assert not may_import("blocks", module)


def test_no_module_bears_the_name_of_a_public_function():
    for stub in ROOT.rglob("__init__.pyi"):
        names = {
            alias.name
            for node in ast.parse(stub.read_text()).body
            if isinstance(node, ast.ImportFrom)
            if node.level and node.module
            for alias in node.names
        }
        modules = {path.stem for path in stub.parent.glob("*.py")} | {
            path.name for path in stub.parent.iterdir() if path.is_dir()
        }
        assert not names & modules, f"{stub.relative_to(ROOT)}: {names & modules}"


def registering_files():
    """Yields the files that register something with Keras 3, under which saved files name it."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                if any(mark.startswith("keras.saving.register_keras_serializable") for mark in marks):
                    yield path


def test_what_saved_models_name_is_imported_with_kerasdl():
    """Keras finds a class of a saved model only once its module is loaded: the index names each of them."""
    named = set(load_index()["saved"])
    modules = {".".join(["kerasdl", *path.relative_to(ROOT).with_suffix("").parts]) for path in registering_files()}
    assert len(modules) > 8
    assert modules == named


NAMES_IN_FRESH_PROCESSES = """
import os, sys
import tensorflow  # which takes the time; Keras and kerasdl come anew in each child

for module in [each for each in sys.modules if each.partition(".")[0] == "keras"]:
    del sys.modules[module]

for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        package, attribute = name.split(":")
        exec(f"import kerasdl.{package} as package; package.{attribute}; import keras, wave")  # wave: any import
        assert keras.saving.get_registered_object("kerasdl>ObjectDecoder"), name
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""


def test_a_name_of_a_package_is_there_in_a_fresh_process():
    names = ["losses:Focal", "layers:ROIAlign", "ops:nms", "blocks:fpn", "vision.detection:Detector"]
    command = [sys.executable, "-c", NAMES_IN_FRESH_PROCESSES, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]


def test_every_package_lists_the_names_of_its_stub_without_tensorflow():
    """Each is reached by attributes from kerasdl alone; those that load Keras are listed alone."""
    listed = {}
    for stub in sorted(ROOT.rglob("__init__.pyi")):
        imports = [node for node in ast.parse(stub.read_text()).body if isinstance(node, ast.ImportFrom)]
        names = {alias.asname or alias.name for node in imports for alias in node.names}
        listed[".".join(stub.parent.relative_to(ROOT.parent).parts)] = names
    with_keras = {"detection", "segmentation"}
    assert with_keras < listed["kerasdl.vision"]
    named = [name for name in listed if name not in {f"kerasdl.vision.{each}" for each in with_keras}]
    code = "import sys, kerasdl\n" + "".join(f"print(*dir({name}))\n" for name in named)
    code += "sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    shown = dict(zip(named, map(str.split, done.stdout.splitlines()), strict=True))
    assert set(shown.pop("kerasdl")) == listed["kerasdl"] | {"__version__"}
    assert {name: set(names) for name, names in shown.items()} == {name: listed[name] for name in shown}
