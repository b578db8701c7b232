"""Strings of many scripts, equal in every run: letters of Unicode's blocks, joined emoji, spaces and signs."""

import random

BLOCKS = (
    *((0x21, 0x7E), (0xA1, 0xFF), (0x100, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x530, 0x58F)),
    *((0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF)),
    *((0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2190, 0x21FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3)),
    *((0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x20000, 0x2A6DF)),
)
SPACES = (" ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200d", "\ufe0f", "\x00", "'s ", "-", ".")
WORDS = (
    "the",
    "Film",
    "unbelievable",
    "NAÏVE",
    "it's",
    "3.14",
    "don't",
    "[MASK]x",
    "👩\u200d👩\u200d👧\u200d👦",
    "e\u0301",
)


def strings(number: int, seed: int = 0) -> list[str]:
    """Returns random strings, most of one script, some of several."""
    rng = random.Random(seed)
    return [_string(rng) for _ in range(number)]


def _string(rng: random.Random) -> str:
    blocks = rng.sample(BLOCKS, rng.choice((1, 1, 1, 2, 5)))
    parts = []
    for _ in range(rng.randrange(12)):
        if rng.random() < 0.4:
            parts.append(rng.choice(WORDS))
        else:
            parts.append("".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(rng.randrange(1, 9))))
        parts.append(rng.choice(SPACES))
    return "".join(parts)
