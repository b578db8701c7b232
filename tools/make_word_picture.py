"""Picture of word vectors of a grid of relations: docs/pictures/word_vectors.png.

python tools/make_word_picture.py
"""

from pathlib import Path

from kerasdl.sequence import Word2Vec, relation_grid
from kerasdl.train import LoopConfig

OUT = Path(__file__).parents[1] / "docs" / "pictures" / "word_vectors.png"


def main() -> None:
    """Learns the vectors and draws six words."""
    texts, _ = relation_grid()
    method = Word2Vec(width=32, minimum_count=1, subsample=0)
    vectors = method.fit(texts, LoopConfig(epochs=10, progress="off"))
    words = [f"r{row}c{column}" for row in range(2) for column in range(3)]
    vectors.plot(words, "Rows and columns of a grid").savefig(OUT, dpi=90)


if __name__ == "__main__":
    main()
