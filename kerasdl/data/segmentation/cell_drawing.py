"""Drawing of one picture of touching cells: outlines that meet, borders of a pixel between them, and light."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

DESIGN = 128
"""Side in pixels at which lengths are stated; another side scales them."""
COUNT = (14, 30)
RADIUS = (7.0, 12.0)
BESIDE = 0.85
"""Share of the cells that grow beside another."""
NEAREST = 0.72
"""Least distance of two centres, in sums of their radii."""
SMALLEST = 30.0
"""Pixels of the smallest cell."""
LOBES = ((2, 0.16), (3, 0.08), (4, 0.05))
"""Waves of an outline: their number around the cell, and their greatest height in radii."""
NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True)
class CellPicture:
    """A drawn picture of cells."""

    image: np.ndarray
    """(H, W, 1) or (H, W, 3) uint8."""
    numbers: np.ndarray
    """(H, W) uint8: the number of the cell, from 1; 0 is the background, and the border between two cells."""


def draw_picture(key: tuple[int, ...], side: int, colour: bool) -> CellPicture:
    """Returns the picture of the seed `key`."""
    rng = np.random.default_rng(key)
    numbers, borders = draw_numbers(rng, side)
    density = _density(rng, numbers, borders)
    return CellPicture(_stained(rng, density) if colour else _grey(rng, density), numbers)


def draw_numbers(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws cells (side, side) uint8, and the pixels of the borders between them, booleans."""
    owners = _owners(rng, side)
    larger = np.where(owners == 0, 255, owners)
    # The pixel of the later cell is the border, so that no two cells touch, not even at a corner.
    is_border = (owners > 0) & (ndimage.minimum_filter(larger, size=3, mode="nearest") < owners)
    cells = np.where(is_border, 0, owners)
    parts, count = ndimage.label(cells, NEIGHBOURS)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    of_part = ndimage.maximum(cells, parts, np.arange(count + 1)).astype(int)
    kept, least = np.zeros(count + 1, np.uint8), SMALLEST * (side / DESIGN) ** 2
    largest = {owner: int(np.argmax(sizes * (of_part == owner))) for owner in sorted({*of_part.tolist()} - {0})}
    whole = [part for part in largest.values() if sizes[part] >= least]
    kept[whole] = np.arange(1, len(whole) + 1)
    numbers = kept[parts]
    low = ndimage.minimum_filter(np.where(numbers == 0, 255, numbers), size=3, mode="nearest")
    high = ndimage.maximum_filter(numbers, size=3, mode="nearest")
    return numbers, is_border & (numbers == 0) & (low < high)  # one that lost its cell is background like any other


def _owners(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draws outlines, (side, side) uint8: the cell that a pixel lies deepest in, from 1."""
    unit = side / DESIGN
    owners, depths = np.zeros((side, side), np.uint8), np.ones((side, side), np.float32)
    centres: list[tuple[float, float, float]] = []
    wanted = int(rng.integers(COUNT[0], COUNT[1] + 1))
    for _ in range(20 * wanted):
        if len(centres) == wanted:
            break
        radius = unit * (RADIUS[0] + (RADIUS[1] - RADIUS[0]) * rng.random())
        if centres and rng.random() < BESIDE:
            row, column, other = centres[int(rng.random() * len(centres))]
            distance, angle = (radius + other) * (0.76 + 0.18 * rng.random()), 2 * math.pi * rng.random()
            row, column = row + distance * math.sin(angle), column + distance * math.cos(angle)
        else:
            row, column = side * rng.random(), side * rng.random()
        is_inside = min(row, column) >= 0 and max(row, column) < side
        if is_inside and all(math.dist((row, column), at[:2]) >= NEAREST * (radius + at[2]) for at in centres):
            centres.append((row, column, radius))
            _grow(rng, owners, depths, centres)
    return owners


def _grow(rng: np.random.Generator, owners: np.ndarray, depths: np.ndarray, centres: list) -> None:
    """Adds the last cell: the pixels inside of its outline that lie less deep in any other."""
    row, column, radius = centres[-1]
    reach = 1.35 * radius
    starts = (max(0, int(at - reach)) for at in (row, column))
    stops = (min(side, int(at + reach) + 2) for at, side in zip((row, column), owners.shape, strict=True))
    place = tuple(slice(*ends) for ends in zip(starts, stops, strict=True))
    rows, columns = (np.arange(each.start, each.stop, dtype=np.float32) + 0.5 for each in place)
    down, across = rows[:, np.newaxis] - row, columns - column
    angle = np.arctan2(down, across)
    outline = 1.0
    for waves, height in LOBES:
        outline = outline + height * (2 * rng.random() - 1) * np.cos(waves * angle + 2 * math.pi * rng.random())
    depth = np.hypot(down, across) / (radius * outline)
    is_won = depth < depths[place]
    depths[place][is_won] = depth[is_won]
    owners[place][is_won] = len(centres)


def _density(rng: np.random.Generator, numbers: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Draws how much of cell each pixel shows, (H, W) float32: about 1 in a cell and 0 outside."""
    side = len(numbers)
    unit = side / DESIGN
    shades = np.concatenate([[0], 0.7 + 0.6 * rng.random(int(numbers.max(initial=0)))]).astype(np.float32)
    density = shades[numbers] + 0.22 * _smooth(rng, side, 2.2 * unit) * (numbers > 0)
    nearby = ndimage.maximum_filter(shades[numbers], size=3, mode="nearest")
    depth = np.clip(0.45 + 0.3 * _smooth(rng, side, 4 * unit), 0.05, 0.9)  # a border fades here and there
    density = np.where(borders, nearby * (1 - depth), density)
    return ndimage.gaussian_filter(density, 0.6 * unit)


def _grey(rng: np.random.Generator, density: np.ndarray) -> np.ndarray:
    """Returns (H, W, 1) uint8: bright cells over dark ground, under uneven light."""
    ground, contrast = 45 + 40 * rng.random(), 60 + 45 * rng.random()
    light = 1 + 0.25 * _ramp(rng, len(density))
    values = (ground + contrast * density) * light + 7 * rng.standard_normal(density.shape, np.float32)
    return _levels(values[..., np.newaxis])


def _stained(rng: np.random.Generator, density: np.ndarray) -> np.ndarray:
    """Returns (H, W, 3) uint8: cells in a dark violet over light rose, as stains have them."""
    ground = np.array([232, 205, 220]) + 12 * rng.standard_normal(3)
    stain = np.array([115, 70, 150]) + 18 * rng.standard_normal(3)
    light = 1 + 0.1 * _ramp(rng, len(density))
    values = (ground + (stain - ground) * np.clip(density, 0, 1.4)[..., np.newaxis]) * light[..., np.newaxis]
    return _levels(values + 9 * rng.standard_normal(values.shape, np.float32))


def _smooth(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    """Draws noise of standard deviation 1 that changes over `sigma` pixels, (side, side) float32."""
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side), np.float32), sigma, mode="wrap")
    return noise * np.float32(2 * math.sqrt(math.pi) * sigma)


def _ramp(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draws light from one side, (side, side) from -1 to 1."""
    angle = 2 * math.pi * rng.random()
    line = np.linspace(-1, 1, side, dtype=np.float32)
    return (line[:, np.newaxis] * math.sin(angle) + line * math.cos(angle)) / math.sqrt(2)


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
