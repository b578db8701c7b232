"""Counter of the multiply-accumulates of every registered model at its default size: `make macs`, about ten minutes.

Kept in kerasdl/core/registry/macs.json, where `kerasdl models` finds them; models that stand there are not counted
again, unless `--fresh` is given.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
from unallocated import unallocated

from kerasdl.core import files
from kerasdl.core.registry import index
from kerasdl.deploy import profile_model

# Arguments of nets whose sizes are free by default.
SIZES = {
    "fast_rcnn_box_head": {"image_shape": (608, 800, 3), "proposals": 1000},
    "faster_rcnn_box_head": {"image_shape": (800, 800, 3), "proposals": 1000},
    "mask_rcnn_mask_head": {"image_shape": (800, 800, 3), "proposals": 100},
}


def count(name: str) -> int:
    """Returns the multiply-accumulates of one example."""
    with unallocated():  # counts without allocating
        return profile_model(kerasdl.build(name, **SIZES.get(name, {}))).macs


def main() -> None:
    """Counts new models, and writes the file after each."""
    counts = {} if "--fresh" in sys.argv else json.loads(index.MACS.read_text())
    names = kerasdl.list_models()
    counts = {name: counts[name] for name in names if name in counts}
    for number, name in enumerate(names, start=1):
        if name not in counts:
            counts[name] = count(name)
            print(f"{number}/{len(names)} {name} {counts[name]:,}", flush=True)
            files.write_json(index.MACS, dict(sorted(counts.items())))
    files.write_json(index.MACS, dict(sorted(counts.items())))


if __name__ == "__main__":
    main()
