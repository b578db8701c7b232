"""Colours of classes: far apart for the first ones, and different for hundreds."""

import colorsys

FIRST = ("#2563eb", "#ea580c", "#16a34a", "#dc2626", "#9333ea", "#0891b2", "#ca8a04", "#db2777", "#4d7c0f", "#78716c")
GOLDEN = 0.618033988749895  # of the circle of hues: each next hue is far from those before


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """Returns a colour (red, green, blue from 0 to 255) for each of `count` classes."""
    first = [tuple(int(each[k : k + 2], 16) for k in (1, 3, 5)) for each in FIRST]
    more = [
        colorsys.hls_to_rgb(k * GOLDEN % 1.0, (0.38, 0.5, 0.3)[k % 3], (0.85, 0.6)[k % 2])
        for k in range(max(0, count - len(first)))
    ]
    return [*first, *(tuple(round(255 * value) for value in each) for each in more)][:count]
