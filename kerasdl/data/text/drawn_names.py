"""Drawn sentences with names of people, places and companies, whose names of one split stand in no other.

Sentence i of a split is a function of (seed, split, i) alone, so a larger set begins with the smaller one. Names are
made of syllables; one name may be a person's, a place's or a company's, and the words around it tell.
"""

import zlib

import numpy as np

from kerasdl.core import checks

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SPLITS

LICENCE = "drawn: free of terms"
SIZES = {"train": 2000, "validation": 400, "test": 400}
BEGINS = ("Al", "Bar", "Cor", "Dal", "El", "Far", "Gor", "Hal", "In", "Jor", "Kel", "Lor", "Mar", "Nor", "Or", "Pel")
MIDDLES = ("", "", "a", "be", "den", "i", "ko", "lan", "mi", "ro")
ENDS = ("a", "an", "by", "don", "en", "ford", "ia", "ler", "mont", "na", "o", "son", "ton", "win", "yn")
COMPANIES = ("Works", "Bank", "Foods", "Motors", "Labs")
TEMPLATES = (
    "{PER} moved to {LOC} last spring",
    "{PER} , who lives in {LOC} , works for {ORG}",
    "shares of {ORG} fell by {NUM} percent",
    "{ORG} opened an office in {LOC}",
    "the mayor of {LOC} met {PER} on {DAY}",
    "{PER} and {PER} left {ORG} after {NUM} years",
    "on {DAY} , {ORG} hired {PER} from {ORG}",
    "trains from {LOC} to {LOC} run every {NUM} minutes",
    "no one in the room had seen the report of {DAY}",
    "{ORG} said that {PER} would lead its team in {LOC}",
    '" we grew up near {LOC} , " said {PER}',
    "rain is expected in {LOC} and {LOC} until {DAY}",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
"""Words with a capital that are no names."""


def draw_names(size: int | None = None, *, split: str = "train", seed: int = 0) -> Dataset:
    """Returns drawn sentences with the tags of their names in the scheme BIO.

    Args:
        size: number of sentences, any; None draws 2,000 for training and 400 else.
        split: `train`, `validation` or `test`; no name is in two of them.
        seed: 0 or more.

    Returns:
        A `Dataset` of texts, the tokens between single spaces, with as many tags in the same form: `O`, and `B-` and
        `I-` of `PER`, `LOC` and `ORG`.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> draw_names(3, seed=1).source.labels[0].split()[:3]
        ['B-PER', 'O', 'B-PER']
    """
    checks.one_of("split", split, SPLITS)
    checks.at_least("seed", seed, 0)
    size = SIZES[split] if size is None else checks.at_least("size", size, 1)
    sentences = [_sentence(np.random.default_rng([seed, SPLITS.index(split), place]), split) for place in range(size)]
    texts, tags = ([" ".join(row[part] for row in rows) for rows in sentences] for part in (0, 1))
    return Dataset(
        name="names",
        task="token_tagging",
        class_names=(),
        input_shape=(),
        input_dtype="string",
        size=size,
        licence=LICENCE,
        seekable=True,
        scale=None,
        source=Examples(np.array(texts), np.array(tags)),
    )


def _sentence(rng: np.random.Generator, split: str) -> list[tuple[str, str]]:
    rows = []
    for word in TEMPLATES[rng.integers(len(TEMPLATES))].split():
        kind = word.strip("{}")
        if word == "{NUM}":
            rows.append((str(rng.integers(2, 90)), "O"))
        elif word == "{DAY}":
            rows.append((DAYS[rng.integers(len(DAYS))], "O"))
        elif kind == word:
            rows.append((word, "O"))
        else:
            names = _tokens(kind, rng, split)
            rows += [(name, f"{'I' if place else 'B'}-{kind}") for place, name in enumerate(names)]
    return rows


def _tokens(kind: str, rng: np.random.Generator, split: str) -> list[str]:
    """Returns the tokens of a name: one or two of a person or a place, and what a company adds to its name."""
    names = [_name(rng, split) for _ in range(1 + int(rng.random() < 0.5))]
    if kind == "ORG":
        return [names[0], COMPANIES[rng.integers(len(COMPANIES))]] if rng.random() < 0.6 else names[:1]
    return names


def _name(rng: np.random.Generator, split: str) -> str:
    """Returns a name of a split: three of five names are for training, chosen by a checksum of the name."""
    while True:
        name = "".join(parts[rng.integers(len(parts))] for parts in (BEGINS, MIDDLES, ENDS))
        place = zlib.crc32(name.encode()) % 5
        if split == ("validation" if place == 3 else "test" if place == 4 else "train"):
            return name
