"""Generator of tests/golden, eight outputs and the layer names of every tiny net: `make golden`.

Names as arguments make those alone. Run it only when an output is meant to change, and say in the commit why it did.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "contract")]

from cases import DISTINCT  # noqa: E402
from filling import fill_weights  # noqa: E402

import kerasdl  # noqa: E402
from kerasdl.core import files, get_task  # noqa: E402

for name in sys.argv[1:] or DISTINCT:
    spec = kerasdl.spec(name)
    model = fill_weights(kerasdl.build(name, **spec.tiny))
    inputs, _ = get_task(spec.task).example(model, 4, 0)
    outputs = model(inputs, training=False).numpy().ravel()[:8]
    golden = {"outputs": [float(f"{value:.7g}") for value in outputs], "layers": [layer.name for layer in model.layers]}
    files.write_json(ROOT / "tests" / "golden" / f"{name}.json", golden)
    print(name, golden["outputs"][:3])
