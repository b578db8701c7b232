"""Scenes a second of one core: `python benchmarks/scenes.py`, 25 seconds."""

import time

from kerasdl.data.detection import draw_shapes, paste_stickers
from kerasdl.data.segmentation import draw_cells

SIZES = {"shapes": 300, "stickers": 60, "cells": 100}


def main() -> None:
    """Prints CPU time and scenes a second of each generator, after one scene that loads fonts and textures."""
    runs = {
        f"shapes:{name}": lambda size, side, name=name: draw_shapes(size, difficulty=name, side=side)
        for name in ("easy", "middle", "hard")
    }
    runs["stickers"] = lambda size, side: paste_stickers(size, side=side)
    runs["cells"] = lambda size, side: draw_cells(size, side=side)
    runs["cells:colour"] = lambda size, side: draw_cells(size, side=side, colour=True)
    for name, run in runs.items():
        for side in (96, 128):
            run(1, side)
            size, start = SIZES[name.partition(":")[0]], time.process_time()
            run(size, side)
            print(f"{name} at {side}: {size / (time.process_time() - start):.0f} scenes a CPU second", flush=True)


if __name__ == "__main__":
    main()
