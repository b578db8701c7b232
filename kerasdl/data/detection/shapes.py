"""Synthetic scenes for detection: circles, squares, triangles, stars, letters and digits over textured ground.

Scene i of a split is a function of (seed, split, difficulty, i) alone, so a larger set begins with the smaller one. It
is designed at 128 x 128 pixels, with 3 to 8 objects whose longer side is 16 to 36 pixels, and other sides scale all of
it. A letter is one of A, K, R and a digit one of 2, 5, 7, in four fonts. Pixels are the same on one machine and one
version of Pillow.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from kerasdl.core import checks

from ..dataset import Dataset
from ..splits import SPLITS
from .placement import TRIES, Placement, blend, pixels_of
from .scenes import SIDE, Scene, check_side, scene_dataset
from .silhouettes import CLASSES, CLUTTER, silhouettes
from .textures import SMOOTHEST, TILE, noise, texture_tiles

LICENCE = "images: free of terms; fonts: Bitstream Vera and DejaVu, STIX (OFL 1.1)"
SIZES = {"train": 2000, "validation": 400, "test": 400}
OBJECTS = (3, 8)
LENGTHS = (16.0, 36.0)


@dataclass(frozen=True)
class Difficulty:
    """Settings that make a scene easy or hard."""

    contrast: float
    """Smallest distance between the colours of an object and of the ground, in levels."""
    two_grounds: float
    """Share of scenes whose ground has a second colour."""
    texture: float
    """Standard deviation of the ground, in levels."""
    noise: float
    """Standard deviation of the noise of each pixel, in levels."""
    clutter: tuple[int, int]
    """Fewest and most forms of no class, such as bars and rings."""
    visible: float
    """Share of each object that later ones leave visible."""
    turn: float
    """Degrees by which objects are turned at most, to either side."""


DIFFICULTIES = {
    "easy": Difficulty(contrast=110, two_grounds=0.0, texture=8, noise=4, clutter=(0, 0), visible=0.95, turn=10),
    "middle": Difficulty(contrast=80, two_grounds=0.5, texture=20, noise=9, clutter=(2, 6), visible=0.7, turn=30),
    "hard": Difficulty(contrast=50, two_grounds=0.8, texture=32, noise=16, clutter=(5, 12), visible=0.45, turn=60),
}


def draw_shapes(
    size: int | None = None,
    *,
    split: str = "train",
    seed: int = 0,
    difficulty: str = "middle",
    side: int = SIDE,
    lengths: tuple[float, float] = LENGTHS,
    masks: bool = False,
    panoptic: bool = False,
    semantic: bool = False,
) -> Dataset:
    """Returns drawn scenes of six classes of shapes, with exact boxes.

    Args:
        size: number of scenes, any; None draws 2000 for training and 400 else.
        split: `train`, `validation` or `test`; no scene is in two of them.
        seed: 0 or more.
        difficulty: `easy`, `middle` or `hard`.
        side: height and width in pixels, 32 to 2048.
        lengths: pixels of the shortest and the longest object where the side is 128; other sides scale them.
        masks: adds the labels "masks", (N, H, W) uint8, the visible pixels of each object.
        panoptic: adds the labels "panoptic", (H, W) int32: 0 for the ground, else 1000 times (class + 1), plus the
            number of the object from 1.
        semantic: in place of all other labels gives "semantic", (H, W) uint8: 0 for the ground, else the class plus 1.

    Returns:
        A `Dataset` of raw images, uint8 (side, side, 3). Its labels are "boxes", (N, 4) float32, left, top, right,
        bottom around the visible pixels; "classes", (N,) int32; and "crowd", (N,) booleans, all false.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> scenes = draw_shapes(10, seed=1, side=96)
        >>> image, labels = scenes[0]
        >>> image.shape, labels["boxes"].shape[1], scenes.class_names[labels["classes"][0]]
        ((96, 96, 3), 4, 'triangle')
    """
    checks.one_of("split", split, SPLITS)
    checks.one_of("difficulty", difficulty, tuple(DIFFICULTIES))
    checks.at_least("seed", seed, 0)
    check_side(side)
    shortest, longest = lengths
    checks.within("the first of lengths", shortest, 1.0, SIDE)
    checks.within("the second of lengths", longest, shortest, SIDE)
    size = SIZES[split] if size is None else checks.at_least("size", size, 1)
    key = (seed, SPLITS.index(split), list(DIFFICULTIES).index(difficulty))
    scenes = [draw_scene((*key, number), DIFFICULTIES[difficulty], side, lengths) for number in range(size)]
    name = "shapes" if difficulty == "middle" else f"shapes:{difficulty}"
    return scene_dataset(scenes, name, CLASSES, LICENCE, masks=masks, panoptic=panoptic, semantic=semantic)


def draw_scene(
    key: tuple[int, ...], difficulty: Difficulty, side: int, lengths: tuple[float, float] = LENGTHS
) -> Scene:
    """Draws one scene from the seed `key`."""
    rng, unit = np.random.default_rng(key), side / SIDE
    image, grounds = _ground(rng, difficulty, side)
    for _ in range(int(rng.integers(difficulty.clutter[0], difficulty.clutter[1] + 1))):
        form = silhouettes(CLUTTER[int(rng.random() * len(CLUTTER))])[0]
        coverage = form.drawn(_between(rng, 8, 28) * unit, 2 * math.pi * rng.random())
        top, left = (int(rng.random() * (side - length + 1)) for length in coverage.shape)
        place = slice(top, top + coverage.shape[0]), slice(left, left + coverage.shape[1])
        blend(image, place, coverage, _colour(rng, grounds, difficulty.contrast))
    placement, classes = Placement(side, difficulty.visible), []
    for _ in range(int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))):
        label = int(rng.random() * len(CLASSES))
        forms = silhouettes(CLASSES[label])
        form, turn = forms[int(rng.random() * len(forms))], math.radians(difficulty.turn)
        for _ in range(TRIES):
            size, angle, stretch = _between(rng, *lengths) * unit, _between(rng, -turn, turn), _between(rng, 0.9, 1.1)
            coverage = form.drawn(size, angle, stretch)
            place = placement.free_place(rng, coverage)
            if place is not None:
                placement.put(place, coverage)
                classes.append(label)
                blend(image, place, coverage, _shaded(rng, _colour(rng, grounds, difficulty.contrast), coverage.shape))
                break
    image += noise(rng, image.shape, difficulty.noise)
    return Scene(pixels_of(image), placement.numbers, np.array(classes, np.int32))


def _ground(rng: np.random.Generator, difficulty: Difficulty, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the ground, float32 (3, side, side), and returns its mean colours too, (G, 3, 1, 1)."""
    means = _between(rng, 40, 215, (1 + int(rng.random() < difficulty.two_grounds), 3, 1, 1))
    light = _ramp(side) * np.float32(12 * _between(rng, -1, 1))
    amplitude = np.float32(difficulty.texture * _between(rng, 0.6, 1.4))
    image = (_texture(rng, side) * amplitude + light) * _between(rng, 0.4, 1.3, (3, 1, 1)) + means[0]
    if len(means) == 2:
        image += (_texture(rng, side, SMOOTHEST) > 0) * (means[1] - means[0])
    return image, means


def _texture(rng: np.random.Generator, side: int, number: int | None = None) -> np.ndarray:
    """Draws a part, float32 (side, side), of a texture; of any of them, if no number is given."""
    tiles = texture_tiles()
    tile = tiles[int(rng.random() * len(tiles)) if number is None else number]
    top, left = (int(rng.random() * (TILE - SIDE + 1)) for _ in range(2))
    texture = tile[top : top + SIDE, left : left + SIDE]
    if side != SIDE:
        texture = np.asarray(Image.fromarray(texture).resize((side, side), Image.Resampling.BILINEAR))
    return texture.T if rng.random() < 0.5 else texture


def _colour(rng: np.random.Generator, grounds: np.ndarray, contrast: float) -> np.ndarray:
    """Draws a colour whose distance from each ground's, in the farthest channel, is `contrast` or more."""
    while True:
        colour = _between(rng, 0, 255, (3, 1, 1))
        if np.abs(colour - grounds).max(axis=1).min() >= contrast:
            return colour


def _shaded(rng: np.random.Generator, colour: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns a colour with light from one side, (3, h, w)."""
    down, across = (_ramp(length) * np.float32(_between(rng, -15, 15)) for length in shape)
    return colour + (down[:, np.newaxis] + across)


@cache
def _ramp(length: int) -> np.ndarray:
    return np.linspace(-1, 1, length, dtype=np.float32)


def _between(rng: np.random.Generator, low: float, high: float, shape: tuple | None = None):
    """Draws a number, or float32 numbers of a shape, from a range."""
    values = low + (high - low) * rng.random(shape)
    return values if shape is None else values.astype(np.float32)
