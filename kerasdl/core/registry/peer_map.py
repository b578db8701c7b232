"""Name map from the layers of a model to the arrays of a PyTorch checkpoint of one architecture.

Each row of a map has a pattern for the kerasdl name, and the name in the checkpoint: a text, or a function of the
numbers in the pattern. Kerasdl counts from 1, checkpoints from 0. `kerasdl.weights` knows the arrays of each layer.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Order of four joined neighbours: kerasdl row by row, checkpoints column by column.
COLUMN_BY_COLUMN = (0, 2, 1, 3)
VIT_ATTENTION = {
    "query": "attention.query",
    "key": "attention.key",
    "value": "attention.value",
    "output": "output.dense",
}


@dataclass(frozen=True)
class PeerMap:
    """Name map of one architecture."""

    prefix: str
    """Prefix of the names in its checkpoints."""
    rows: tuple[tuple[str, str | Callable[..., str]], ...]
    """Patterns of kerasdl names, each with the name in the checkpoint."""
    merged: str = "(?!)"
    """Pattern of the layers that read four joined neighbours, whose order differs in checkpoints."""
    halves: tuple[str, str] = ("(?!)", "(?!)")
    """Patterns of the layers that have the first and the second half of an array."""
    thirds: tuple[str, ...] = ()
    """Patterns of the layers that have the first, the second and the last third of an array."""
    turned: bool = True
    """Whether its dense kernels are (outputs, inputs), as in PyTorch's Linear; GPT-2 has (inputs, outputs)."""
    heads: str = r".*head"
    """Pattern of the layers that stay fresh in a net for other classes."""
    attention: Mapping[str, str] = field(default_factory=lambda: VIT_ATTENTION)
    """Parts of an attention, each with its name in the checkpoint."""
    network: str | tuple[str, ...] | None = None
    """Name or names of the networks that it fills, where the names in a checkpoint do not tell the architecture."""
    fresh: str = "(?!)"
    """Pattern of the layers that a checkpoint may lack, such as the head of a classifier over a pretrained encoder."""
    renamed: tuple[tuple[str, str | Callable[[re.Match], str]], ...] = ()
    """Patterns of names in older checkpoints, each with the name today."""
    symmetric: bool = False
    """Whether its nets pad convolutions with a stride by the same margin on all sides."""
    others: tuple[tuple[str, str], ...] = ()
    """Patterns of an array's `name shape` that show a net which no model here is, each with a name for it."""
    whole: bool = False
    """Whether each array of a checkpoint must be read by a layer, be zero, or repeat one that is read."""
    unread: str = "(?!)"
    """Pattern of the arrays that need not be read all the same, such as a head of pretraining."""
    preprocess: Mapping[str, Any] | None = None
    """Pixel scaling of its nets, unless a file beside the checkpoint states it."""

    def name_of(self, layer: str, layers: Sequence[str]) -> str | None:
        """Returns the name of a layer in the checkpoint, from the names of all layers; None if the map has none."""
        for pattern, theirs in self.rows:
            match = re.fullmatch(pattern, layer)
            if match:
                return theirs if isinstance(theirs, str) else theirs(*map(int, match.groups()))
        if self.flat is None:
            return None
        return self.flat(layer, layers)

    flat: Callable[[str, Sequence[str]], str | None] | None = None
    """Function for layers that checkpoints number through all blocks, from a name and all kerasdl names."""

    def part_of(self, layer: str) -> tuple[int, int] | None:
        """Returns which of how many equal parts of an array a layer has; None for layers that have the whole."""
        for patterns in (self.halves, self.thirds):
            for place, pattern in enumerate(patterns):
                if re.fullmatch(pattern, layer):
                    return place, len(patterns)
        return None

    def order_of(self, layer: str) -> tuple[int, ...] | None:
        """Returns the checkpoint's order of the four joined neighbours that a layer reads; None for other layers."""
        return COLUMN_BY_COLUMN if re.fullmatch(self.merged, layer) else None

    models: Mapping[str, str] = field(default_factory=dict)
    """Registered models by the name of their class in a `config.json`, such as `BertModel`."""
    arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Function from such a config to the arguments of these models; what would compute something else is refused."""
    config: Callable[[Any], Mapping[str, Any] | None] | None = None
    """Function from a network to the content of its config.json, None for a network of another map; None for maps whose
    networks are not exported."""
    builder: str = ""
    """Registered name of the networks that are exported, where `models` names none."""
    saved_name: Callable[[Any, str], str] | None = None
    """Function from a network and the name of an array here to its name in a new checkpoint, where that is another."""
