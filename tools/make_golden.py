"""Generator of tests/golden, eight numbers of each output and the layer names of every tiny net: `make golden`.

Names as arguments make those alone. A file whose net still passes its test is left as it is: other CPUs round the last
digits otherwise. Run it only when an output is meant to change, and say in the commit why it did.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "contract")]

from cases import DISTINCT, distinct_name  # noqa: E402
from contract_rows import check_golden, golden_of  # noqa: E402
from tiny_nets import make_net  # noqa: E402

from kerasdl.core import files  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"


def is_kept(net, path: Path) -> bool:
    """Tells whether a file exists that the net still passes."""
    try:
        check_golden(net, json.loads(path.read_text()))
    except (FileNotFoundError, AssertionError, KeyError, ValueError):
        return False
    return True


def main(names: list[str], folder: Path = GOLDEN) -> list[str]:
    """Writes the files of the named nets where they differ; returns the nets written."""
    written = []
    for name in sorted({distinct_name(name) for name in names} or DISTINCT):
        net = make_net(name)
        if is_kept(net, folder / f"{name}.json"):
            print(name, "is as it was")
            continue
        golden = golden_of(net)
        files.write_json(folder / f"{name}.json", golden)
        print(name, golden["outputs"][:3])
        written.append(name)
    return written


if __name__ == "__main__":
    main(sys.argv[1:])
