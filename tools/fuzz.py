"""Fuzzing of the library: each random input gives a right result or a refusal. `make fuzz` runs it for half an hour.

`exports` draws small nets of every built-in layer, writes them as TFLite and ONNX and runs the files on hostile
input; `folders` draws folders of images and reads them; `training` draws nets, labels, pipelines and settings and
trains, beside the same in NumPy. A find is printed with its seed: `tools/fuzz.py exports --seed N --count 1` makes it
again, and `--formats "tflite int8"` writes that file alone. Ctrl-C ends the run and prints what was seen so far.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "fuzz")]

import fuzz_exporting  # noqa: E402
import fuzz_folders  # noqa: E402
import fuzz_training  # noqa: E402

FUZZERS = {"exports": fuzz_exporting.run, "folders": fuzz_folders.run, "training": fuzz_training.run}


def main() -> None:
    """Runs the fuzzers one after another; ends with 1 if one has found a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fuzzers", nargs="*", metavar="FUZZER", help=f"of {', '.join(FUZZERS)}; all by default")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each of them")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="of the first draw")
    parser.add_argument("--count", type=int, help="draws at most, of each")
    parser.add_argument("--formats", nargs="+", help="kinds of file, for exports")
    asked = parser.parse_args()
    if unknown := set(asked.fuzzers) - set(FUZZERS):
        parser.error(f"fuzzers are {', '.join(FUZZERS)}; got {', '.join(sorted(unknown))}")
    finds = 0
    for name in asked.fuzzers or FUZZERS:
        print(f"{name}: {asked.seconds:.0f} s from seed {asked.seed}", flush=True)
        more = {"nets": asked.count, "formats": asked.formats} if name == "exports" else {"count": asked.count}
        figures = FUZZERS[name](asked.seconds, asked.seed, tell=lambda line: print(line, flush=True), **more)
        print(figures, flush=True)
        finds += len(figures.finds)
        if figures.interrupted:
            break
    sys.exit(finds > 0)


if __name__ == "__main__":
    main()
