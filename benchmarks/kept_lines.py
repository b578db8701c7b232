"""Lines of JSON of a benchmark that can be stopped and started: what was measured is not measured again."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np


def rows(path: Path) -> list[dict]:
    """Returns what was measured so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def measure(path: Path, keys: Sequence[str], jobs: Mapping[tuple, Callable[[], dict]]) -> None:
    """Runs the jobs that have no line yet, and adds their lines.

    Args:
        path: file of the lines.
        keys: names of the entries that tell one line from another, such as `network` and `seed`.
        jobs: the values of these entries, and a function that returns the figures.
    """
    done = {tuple(row[key] for key in keys) for row in rows(path)}
    for job, run in jobs.items():
        if job not in done:
            line = dict(zip(keys, job, strict=True)) | run()
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def means(path: Path, keys: Sequence[str], figures: Mapping[str, str]) -> None:
    """Prints the mean of each figure over all lines of equal entries, the seed apart.

    Args:
        path: file of the lines.
        keys: as in `measure`, without `seed`.
        figures: columns, each with its format, such as `{"mIoU": ".3f"}`; a line may lack some.
    """
    lines = rows(path)
    found = list(dict.fromkeys(tuple(row[key] for key in keys) for row in lines))
    wide = [max([len(key), *(len(str(job[place])) for job in found)]) + 2 for place, key in enumerate(keys)]
    print("".join(f"{key:{width}}" for key, width in zip(keys, wide, strict=True)), end="seeds")
    print("".join(f"{name:>{len(name) + 4}}" for name in figures))
    for job in found:
        alike = [row for row in lines if tuple(row[key] for key in keys) == job]
        print("".join(f"{value!s:{width}}" for value, width in zip(job, wide, strict=True)), end=f"{len(alike):5}")
        for name, form in figures.items():
            values = [row[name] for row in alike if row.get(name) is not None]
            print(f"{format(np.mean(values), form) if values else '-':>{len(name) + 4}}", end="")
        print()


def asked(doc: str, names: Iterable[str], *, kind: str, seeds: int | None = 3) -> argparse.Namespace:
    """Reads the command line: names, `--seeds` unless it is None, and `--table` to measure nothing.

    Args:
        doc: docstring of the program, whose first line is its help.
        names: what can be asked for; all by default.
        kind: word for one of them, such as `network`; the names asked for come as `names`.
        seeds: default number of seeds.
    """
    names = tuple(names)
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar=kind.upper(), help=f"of {', '.join(names)}; all by default")
    if seeds is not None:
        parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parsed = parser.parse_args()
    if unknown := set(parsed.names) - set(names):
        parser.error(f"a {kind} is one of {', '.join(names)}; got {', '.join(sorted(unknown))}")
    parsed.names = parsed.names or list(names)
    return parsed
