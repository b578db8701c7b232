"""Builder of docs/pictures/alignment.png: the attention of `dates_seq2seq` while it writes a date."""

from pathlib import Path

import numpy as np

import kerasdl
from kerasdl.sequence import Tokenizer, Translator, draw_alignment, teacher_forcing

SOURCE = "Monday, 2 March 1987"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "alignment.png"


def main(path: Path = PICTURE) -> None:
    """Writes the picture."""
    bundle = kerasdl.load_bundle("dates_seq2seq")
    tokenizer, translator = Tokenizer.from_text(bundle.preprocess["tokenizer"]), Translator(bundle.model)
    source = tokenizer.encode_batch([SOURCE], bundle.preprocess["length"])
    written = translator.translate(source)
    weights = translator.alignment(source, teacher_forcing(written)[0])[0]
    ids = written[0][np.flatnonzero(written[0])]
    target = [tokenizer.decode([token]) or "end" for token in ids]
    draw_alignment(weights, SOURCE, target, path)
    print(bundle.predict([SOURCE]), path)


if __name__ == "__main__":
    main()
