"""Scenes of emoji for detection, cut out by their transparency and pasted over photographs, with soft shadows.

Scene i of a split is a function of (seed, split, i) and the other settings alone. An emoji is in one split, the same in
both styles, and the splits show different parts of the photographs. Photographs are scikit-learn's china.jpg and
flower.jpg, or the user's own.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from kerasdl.core import checks

from ..builtin import pictures
from ..dataset import Dataset
from ..splits import SHARES, SPLITS, grouped_split
from .placement import TRIES, Placement, blend, pixels_of
from .scenes import SIDE, Scene, check_side, scene_dataset

LICENCE = f"{pictures.EMOJI_LICENCE}; photographs: CC BY 2.0 (danielbuechele and vultilion, flickr.com)"
SIZES = {"train": 400, "validation": 100, "test": 200}
OBJECTS = (2, 6)
LENGTHS = (22.0, 48.0)
VISIBLE = 0.6
TURN = math.radians(30)
GROUPS = {"kinds": "subcategory", "categories": "category"}


def paste_stickers(
    size: int | None = None,
    *,
    split: str = "train",
    seed: int = 0,
    style: str = "twemoji",
    classes: str | Sequence[str] = "kinds",
    photos: Sequence[np.ndarray] | None = None,
    side: int = SIDE,
    masks: bool = False,
    panoptic: bool = False,
    semantic: bool = False,
) -> Dataset:
    """Returns scenes of emoji over photographs, with exact boxes.

    Args:
        size: number of scenes, any; None draws 400 for training, 100 for validation and 200 for the test.
        split: `train`, `validation` or `test`.
        seed: 0 or more.
        style: `twemoji` or `noto`, which draw the same emoji differently.
        classes: `kinds`, which are mammal, clothing, fruit, sky and vehicle; `categories`, the nine of Unicode; or
            names of emoji, such as `("RED APPLE", "DOG FACE")`, each a class of its own in every split.
        photos: images, uint8 (H, W, 3) of 160 pixels or more each way; None takes scikit-learn's two.
        side: height and width in pixels, 32 to 2048. At 128 objects are about 22 to 48 pixels long.
        masks: as in `draw_shapes`.
        panoptic: as in `draw_shapes`.
        semantic: as in `draw_shapes`.

    Returns:
        A `Dataset` as of `draw_shapes`. A box holds the pixels that are covered by half or more; shadows do not count.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no emoji of a name.

    Example:
        >>> scenes = paste_stickers(2, style="noto")
        >>> scenes[0][0].shape, scenes.class_names
        ((128, 128, 3), ('mammal', 'clothing', 'fruit', 'sky', 'vehicle'))
    """
    checks.one_of("split", split, SPLITS)
    checks.one_of("style", style, pictures.STYLES)
    checks.at_least("seed", seed, 0)
    check_side(side)
    size = SIZES[split] if size is None else checks.at_least("size", size, 1)
    class_names, labels = emoji_classes(classes)
    members = _members(labels, None if isinstance(classes, str) else "all", split)
    cutouts = pictures.read_cutouts(np.concatenate(members), style)
    ends = np.cumsum([0, *map(len, members)])
    by_class = [cutouts[ends[place] : ends[place + 1]] for place in range(len(members))]
    grounds = [_part(each, split) for each in (_sample_photos() if photos is None else _checked(photos))]
    key = seed, SPLITS.index(split)
    scenes = [draw_scene((*key, number), by_class, grounds, side) for number in range(size)]
    name = "stickers" if style == pictures.STYLES[0] else f"stickers:{style}"
    return scene_dataset(scenes, name, class_names, LICENCE, masks=masks, panoptic=panoptic, semantic=semantic)


def emoji_classes(classes: str | Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the names of the classes, and the class of each embedded emoji, -1 for none."""
    entries = pictures.emoji_names()
    if not isinstance(classes, str):
        names = [entry["name"] for entry in entries]
        wanted = [checks.known_name("emoji", str(name).upper(), names) for name in classes]
        if not wanted or len(set(wanted)) < len(wanted):
            checks.refuse("classes must hold unlike names of emoji", tuple(classes))
        return tuple(wanted), np.array([wanted.index(name) if name in wanted else -1 for name in names])
    field = GROUPS[checks.one_of("classes", classes, tuple(GROUPS), "Or pass a tuple of names of emoji.")]
    words = pictures.KINDS if classes == "kinds" else {entry[field]: entry[field] for entry in entries}
    keys = list(words) if classes == "kinds" else sorted(words)
    labels = np.array([keys.index(entry[field]) if entry[field] in keys else -1 for entry in entries])
    return tuple(words[key] for key in keys), labels


def _members(labels: np.ndarray, splits: str | None, split: str) -> list[np.ndarray]:
    """Returns the emoji of each class: those of the split, or all where an emoji is a class."""
    groups = np.array([each["same_as"] for each in pictures.emoji_names()])
    chosen = np.arange(len(labels)) if splits == "all" else np.sort(grouped_split(labels, groups, split))
    return [chosen[labels[chosen] == label] for label in range(labels.max() + 1)]


@cache
def _sample_photos() -> tuple[np.ndarray, ...]:
    return tuple(load_sample_images().images)


def _checked(photos: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    for each in photos:
        if not isinstance(each, np.ndarray) or each.dtype != np.uint8 or each.ndim != 3 or each.shape[2] != 3:
            got = (getattr(each, "dtype", type(each).__name__), getattr(each, "shape", None))
            checks.refuse("a photo must be a uint8 array (H, W, 3)", got)
        if min(each.shape[:2]) < 160:
            checks.refuse("a photo must have 160 pixels or more each way", each.shape)
    if not len(photos):
        checks.refuse("photos must hold at least one image", photos)
    return photos


def _part(photo: np.ndarray, split: str) -> np.ndarray:
    """Returns the columns of a photograph that a split shows."""
    place = SPLITS.index(split)
    low, high = (round(share * photo.shape[1]) for share in (sum(SHARES[:place]), sum(SHARES[: place + 1])))
    return photo[:, low:high]


def draw_scene(
    key: tuple[int, ...], cutouts: Sequence[Sequence[Image.Image]], grounds: Sequence[np.ndarray], side: int
) -> Scene:
    """Draws one scene from the seed `key`."""
    rng, unit = np.random.default_rng(key), side / SIDE
    image = _ground(rng, grounds, side)
    placement, classes = Placement(side, VISIBLE), []
    for _ in range(int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))):
        label = int(rng.random() * len(cutouts))
        cutout = cutouts[label][int(rng.random() * len(cutouts[label]))]
        for _ in range(TRIES):
            sticker = _sticker(rng, cutout, unit)
            place = placement.free_place(rng, sticker[..., 3])
            if place is not None:
                placement.put(place, sticker[..., 3])
                classes.append(label)
                _shade(rng, image, place, sticker[..., 3], unit)
                blend(image, place, sticker[..., 3], sticker[..., :3].transpose(2, 0, 1).astype(np.float32))
                break
    return Scene(pixels_of(image), placement.numbers, np.array(classes, np.int32))


def _ground(rng: np.random.Generator, grounds: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Draws a part of a photograph, float32 (3, side, side), perhaps mirrored, lighter or darker."""
    photo = grounds[int(rng.random() * len(grounds))]
    length = int(min(photo.shape[:2]) * (0.5 + 0.5 * rng.random()))
    top, left = (int(rng.random() * (most - length + 1)) for most in photo.shape[:2])
    part = Image.fromarray(photo[top : top + length, left : left + length])
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(part.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return pixels * np.float32(0.7 + 0.4 * rng.random())


def _sticker(rng: np.random.Generator, cutout: Image.Image, unit: float) -> np.ndarray:
    """Draws an emoji turned and resized, uint8 (h, w, 4), with no empty rows at its edges."""
    length = (LENGTHS[0] + (LENGTHS[1] - LENGTHS[0]) * rng.random()) * unit
    angle = math.degrees(TURN) * (2 * rng.random() - 1)
    turned = cutout.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    turned = turned.crop(turned.getchannel("A").getbbox())
    zoom = length / max(turned.size)
    sides = tuple(max(2, round(each * zoom)) for each in turned.size)
    return np.asarray(turned.resize(sides, Image.Resampling.BILINEAR))


def _shade(
    rng: np.random.Generator, image: np.ndarray, place: tuple[slice, slice], coverage: np.ndarray, unit: float
) -> None:
    """Darkens a float32 image (3, H, W) by the soft shadow of a form, below it to the left or the right."""
    down, across = (3 * unit * (0.4 + rng.random()), 3 * unit * (2 * rng.random() - 1))
    canvas = Image.new("L", image.shape[:0:-1])
    canvas.paste(
        Image.fromarray(np.ascontiguousarray(coverage)), (place[1].start + round(across), place[0].start + round(down))
    )
    shadow = np.asarray(canvas.filter(ImageFilter.GaussianBlur(2 * unit)), np.float32)
    image *= 1 - shadow * np.float32((0.3 + 0.3 * rng.random()) / 255)
