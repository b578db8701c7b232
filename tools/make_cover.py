"""Choice of the nets for the contract rows of exporters, bridge and QAT, by their graphs: `make cover`.

tests/contract/cover.json holds each net with those of its features that no net before it holds.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "contract")]

from cases import COVER, COVERABLE  # noqa: E402
from covering import cover_of, features_of_net  # noqa: E402

from kerasdl.core import files  # noqa: E402


def main() -> None:
    """Writes the cover and prints its size."""
    features = {name: features_of_net(name) for name in COVERABLE}
    nets, held = {}, set()
    for name in cover_of(features):
        nets[name] = sorted(features[name] - held)
        held |= features[name]
    files.write_json(COVER, {"nets": nets})
    print(f"{COVER.relative_to(ROOT)}: {len(nets)} of {len(COVERABLE)} distinct nets hold all {len(held)} features")


if __name__ == "__main__":
    main()
