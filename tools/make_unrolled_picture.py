"""Builder of docs/pictures/unrolled.png: a bidirectional classifier over four steps."""

from pathlib import Path

import kerasdl
from kerasdl.sequence import draw_unrolled, unrolled_text

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "unrolled.png"


def main(path: Path = PICTURE) -> None:
    """Writes the picture, and prints the same as text."""
    model = kerasdl.build("bilstm_classifier", length=8, vocabulary=4_000, classes=11, embedding=48, units=32)
    draw_unrolled(model, 4, path)
    print(unrolled_text(model, 3))


if __name__ == "__main__":
    main()
