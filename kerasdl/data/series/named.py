"""Embedded and drawn series by name, and their windows for `kerasdl.data.load`."""

import json
import lzma
from dataclasses import dataclass
from functools import cache

import numpy as np

from kerasdl.core import checks

from ..builtin.pictures import FILES
from ..dataset import Dataset
from .drawn import LICENCE, random_walks, seasonal_series
from .records import TimeSeries
from .windowing import window_series


@dataclass(frozen=True)
class Named:
    """Series of a name: season, windows of `load`, licence, contents."""

    period: int
    """Steps of a season; 1 for none."""
    length: int
    """Steps of a window that `load` gives."""
    horizon: int
    """Steps to forecast of a window that `load` gives."""
    licence: str
    """The terms under which it may be used."""


OWNERLESS = "public domain ({})"
SERIES = {
    "co2": Named(52, 104, 26, OWNERLESS.format("Keeling and Whorf 2004, CDIAC; as statsmodels has it")),
    "sunspots": Named(11, 33, 11, OWNERLESS.format("National Geophysical Data Center; as statsmodels has it")),
    "sea_temperature": Named(12, 36, 12, OWNERLESS.format("NOAA, ERSST.V3B; as statsmodels has it")),
    "seasonal": Named(12, 36, 12, LICENCE),
    "random_walk": Named(1, 30, 5, LICENCE),
}


def load_series(name: str, seed: int = 0) -> TimeSeries:
    """Returns an embedded or drawn series, whole.

    Args:
        name: `co2`, parts per million of carbon dioxide over Mauna Loa, weekly 1958 to 2001, with 59 weeks missing;
            `sunspots`, their number each year 1700 to 2008; `sea_temperature`, the mean of each month 1950 to 2010 off
            Peru, in degrees Celsius; `seasonal` or `random_walk`, drawn.
        seed: seed of drawn series.

    Returns:
        A `TimeSeries`.

    Raises:
        UnknownNameError: there is no such series.

    Example:
        >>> load_series("sunspots")
        TimeSeries sunspots
          times   309 from 1700 to 2008
          target  1: sunspots
    """
    checks.known_name("series", name, SERIES)
    if name == "seasonal":
        return seasonal_series(seed=seed)[0]
    if name == "random_walk":
        return random_walks(seed=seed)[0]
    content = _content()[name]
    start = np.datetime64(content["start"])
    times = start + np.arange(len(content["values"])) * content["step"]
    values = np.array(content["values"], float)
    return TimeSeries(times, {name: values}, (name,), name=name, licence=SERIES[name].licence)


def read_windows(name: str, split: str, seed: int) -> Dataset:
    """Returns the windows of a split of a series by name, cut by time and scaled by the train part."""
    named = SERIES[name]
    return getattr(window_series(load_series(name, seed), named.length, named.horizon), split)


@cache
def _content() -> dict:
    with lzma.open(FILES / "series.json.xz") as file:
        return json.load(file)
