"""Drawn texts, and the answers of sacrebleu, rouge-score and jiwer about them, which tests/frozen/texts.json keeps.

python tests/support/text_peers.py     # with these three packages, which the project does not need
"""

import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).parents[1] / "frozen" / "texts.json"
SENTENCES = (  # without tabs, which jiwer takes for parts of words
    "The quick brown fox, aged 3.5 years, jumps over the lazy dog.",
    "It cost $1,299.99 - no: 20-30% less (or so he said)!",
    "He said: &quot;well-known&quot; words &amp; others; e.g. the the the the.",
    "Le cœur a ses raisons que la raison ne connaît point ; n'est-ce pas ?",
    "Füße, Ärger und Straßen: größer als 1.000,5 Meter.",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",  # noqa: RUF001
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",  # noqa: RUF001
    "国境の長いトンネルを抜けると雪国であった。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "كل إنسان يولد حرا ومتساويا في الكرامة والحقوق.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "Πᾶσα τέχνη καὶ πᾶσα μέθοδος, ὁμοίως δὲ πρᾶξίς τε.",
    "emoji 🙂🙂 and  two  spaces   and three 👩‍👩‍👧 end",
    "a a a a a b b",
    "x",
    "",
)


def drawn_pairs(count: int = 200, seed: int = 0) -> list[tuple[list[str], str]]:
    """Returns one to three references each, and a text that is one of them with words and characters changed."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        references = [SENTENCES[row] for row in rng.choice(len(SENTENCES), rng.integers(1, 4), replace=False)]
        words = references[0].split(" ")
        for _ in range(rng.integers(0, 6)):
            place = int(rng.integers(len(words) + 1))
            other = SENTENCES[rng.integers(len(SENTENCES))].split(" ")
            changes = [words[:place], words[place:][1:], [], words[place:]]
            kind = rng.integers(4)
            if kind == 0:
                words = changes[0] + changes[1]
            elif kind == 1:
                words = [*changes[0], other[rng.integers(len(other))], *changes[3]]
            elif kind == 2:
                words = changes[0] + changes[0][-2:] + changes[3]
            else:
                words = [word[1:] + word[:1] if row == place else word for row, word in enumerate(words)]
        pairs.append((references, " ".join(words)))
    return pairs


def answers(pairs: list[tuple[list[str], str]]) -> list[dict[str, float | None]]:
    """Returns the figures of the peers for each pair, those of one reference for the first; None where refused."""
    import jiwer
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU, CHRF

    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"])
    rows = []
    for references, text in pairs:
        streams = [[each] for each in references]
        scores = rouge.score_multi(references, text)
        row = {
            "bleu": BLEU().corpus_score([text], streams).score,
            "chrf": CHRF().corpus_score([text], streams).score,
            "chrf++": CHRF(word_order=2).corpus_score([text], streams).score,
            **{kind: score.fmeasure for kind, score in scores.items()},
        }
        for name, measure in (("wer", jiwer.wer), ("cer", jiwer.cer)):
            try:
                row[name] = measure(references[0], text)
            except ValueError:
                row[name] = None
        rows.append(row)
    return rows


def corpus_answers(pairs: list[tuple[list[str], str]]) -> dict[str, float]:
    """Returns the figures of the peers for all pairs together, with the first reference of each."""
    import jiwer
    from sacrebleu.metrics import BLEU, CHRF

    true, predicted = [references[0] for references, _ in pairs], [text for _, text in pairs]
    return {
        "bleu": BLEU().corpus_score(predicted, [true]).score,
        "bleu2": BLEU(max_ngram_order=2).corpus_score(predicted, [true]).score,
        "chrf": CHRF().corpus_score(predicted, [true]).score,
        "chrf++": CHRF(word_order=2).corpus_score(predicted, [true]).score,
        "wer": jiwer.wer(true, predicted),
        "cer": jiwer.cer(true, predicted),
    }


if __name__ == "__main__":
    drawn = drawn_pairs()
    frozen = {"pairs": answers(drawn), "corpus": corpus_answers([pair for pair in drawn if pair[0][0]])}
    PATH.write_text(json.dumps(frozen, indent=0) + "\n", encoding="utf-8")
