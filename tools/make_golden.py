"""Generator of tests/golden, eight numbers of each output and the layer names of every tiny net: `make golden`.

Names as arguments make those alone. Run it only when an output is meant to change, and say in the commit why it did.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "contract")]

from cases import DISTINCT  # noqa: E402
from contract_rows import golden_of  # noqa: E402
from tiny_nets import make_net  # noqa: E402

from kerasdl.core import files  # noqa: E402

for name in sys.argv[1:] or DISTINCT:
    golden = golden_of(make_net(name))
    files.write_json(ROOT / "tests" / "golden" / f"{name}.json", golden)
    print(name, golden["outputs"][:3])
