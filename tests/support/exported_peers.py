"""Answers of transformers for a folder that this library exported; needs torch and transformers.

`python tests/support/exported_peers.py FOLDER` reads inputs.npz there and writes answers.npz beside it.
"""

import json
import sys
from pathlib import Path

import numpy as np


def answers_of(folder: Path) -> np.ndarray:
    """Returns the first output of the class that the folder's config names, of the arrays in its inputs.npz."""
    import torch
    import transformers

    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, seen = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    lost = {key: value for key, value in seen.items() if value}
    if lost:
        raise SystemExit(f"{kind} did not find or use weights: {lost}")
    with np.load(folder / "inputs.npz") as file, torch.no_grad():
        given = model.eval()(**{name: torch.from_numpy(file[name]).long() for name in file})
    return given[0].float().numpy()


if __name__ == "__main__":
    for each in map(Path, sys.argv[1:]):
        np.savez(each / "answers.npz", answers=answers_of(each))
