"""Generated corpus with a grid of relations, whose analogies are known: a test of word vectors."""

import itertools

import numpy as np

from kerasdl.core import checks

from .analogies import Question

CONTEXTS = 6
KINDS = (0.4, 0.4, 0.2)  # words of the row, of the column, of any row or column


def relation_grid(
    rows: int = 8, columns: int = 6, *, sentences: int = 6000, length: int = 10, seed: int = 0
) -> tuple[list[list[str]], dict[str, list[Question]]]:
    """Returns sentences about the words of a grid, and the analogies that hold in it.

    Word `r2c3` stands in its sentence among words of row 2 (`row2_0` to `row2_5`), words of column 3, and one in five
    of any row or column: the words around say row and column alone. As "Oslo is to Norway as Rome is to Italy", `r1c2`
    is to `r1c4` as `r5c2` is to `r5c4`.

    Args:
        rows: of the grid.
        columns: of the grid.
        sentences: how many.
        length: words in a sentence.
        seed: of the drawing.

    Returns:
        The sentences as lists of words, and questions by section: `rows`, pairs that differ in the row, and `columns`.

    Raises:
        ArgumentError: the grid has fewer than 2 rows or columns, or a sentence fewer than 5 words.

    Example:
        >>> texts, questions = relation_grid(2, 2, sentences=1, length=5)
        >>> len(texts[0]), questions["rows"][0]
        (5, ('r0c0', 'r1c0', 'r0c1', 'r1c1'))
    """
    for name, value, low in (("rows", rows, 2), ("columns", columns, 2), ("sentences", sentences, 1)):
        checks.at_least(name, value, low)
    checks.at_least("length", length, 5)
    rng = np.random.default_rng(seed)
    anything = [f"{name}{place}" for name, size in (("row", rows), ("column", columns)) for place in range(size)]
    texts = []
    for row, column in zip(rng.integers(rows, size=sentences), rng.integers(columns, size=sentences), strict=True):
        kinds = rng.choice(3, length, p=KINDS)
        numbers, others = rng.integers(CONTEXTS, size=length), rng.choice(anything, length)
        words = [
            f"{(f'row{row}', f'column{column}', other)[kind]}_{number}"
            for kind, number, other in zip(kinds, numbers, others, strict=True)
        ]
        words[rng.integers(length)] = f"r{row}c{column}"
        texts.append(words)
    pairs_of_rows = itertools.permutations(range(rows), 2)
    pairs_of_columns = itertools.permutations(range(columns), 2)
    questions = {
        "rows": [
            (f"r{i}c{k}", f"r{j}c{k}", f"r{i}c{other}", f"r{j}c{other}")
            for i, j in pairs_of_rows
            for k, other in itertools.permutations(range(columns), 2)
        ],
        "columns": [
            (f"r{k}c{i}", f"r{k}c{j}", f"r{other}c{i}", f"r{other}c{j}")
            for i, j in pairs_of_columns
            for k, other in itertools.permutations(range(rows), 2)
        ],
    }
    return texts, questions
