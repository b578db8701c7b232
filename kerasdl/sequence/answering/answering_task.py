"""Extractive question answering task: a question and a text to the part of the text that answers it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.core.data_fit import check_fits
from kerasdl.data import Dataset, DataWarning
from kerasdl.data.sources import Examples
from kerasdl.data.text import Answer
from kerasdl.metrics import ExactMatch, squad

from ..text_inputs import check_text_settings, drawn_texts, tokenizer_of
from ..tokenizers import Tokenizer
from .answer_search import find_answers
from .question_windows import KEYS, Question, Window, inputs_of, labels_of, questions_of, windows_of

TASK = "question_answering"
LONGEST = 30
"""Tokens of an answer at most, as in the code of BERT."""


@dataclasses.dataclass(eq=False)
class QuestionExamples(Examples):
    """Windows of questions with the places of their answers, and the questions themselves, by whose texts one measures.

    A part of them is plain `Examples`.
    """

    questions: tuple[Question, ...] = ()
    """The questions with their texts."""
    answers: tuple[tuple[Answer, ...], ...] = ()
    """Answers of each question."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings of the windows and of the search."""


def answering_settings(
    tokenizer: Tokenizer,
    length: int,
    *,
    segments: bool,
    stride: int | None = None,
    longest: int = LONGEST,
    no_answer: bool = False,
    threshold: float = 0.0,
) -> dict[str, Any]:
    """Returns the settings of a bundle of the task from its tokenizer.

    Args:
        tokenizer: a `Tokenizer`; its template should part question and text.
        length: T, tokens of a window.
        segments: whether the net reads segments.
        stride: tokens of the text that a window shares with the next one, 0 or more; None takes a third of the length.
        longest: tokens of an answer at most.
        no_answer: whether the net may say that the text has no answer.
        threshold: by which the score of no answer must exceed that of the best one.
    """
    form = {"length": length, "padding_id": tokenizer.padding_id, "segments": segments}
    form |= {"stride": length // 3 if stride is None else stride, "longest": longest}
    return {**form, "no_answer": no_answer, "threshold": threshold, "tokenizer": tokenizer.to_text()}


def check_answerer(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks the settings of a bundle against a net; raises `ArgumentError`."""
    if labels:
        checks.refuse("a net that answers questions has no labels", labels[0])
    if settings.get("tokenizer") is None:
        hint = 'Set preprocess["tokenizer"] = tokenizer.to_text().'
        checks.refuse("settings of a net that answers questions must hold a tokenizer", sorted(settings), hint)
    check_text_settings(settings, model)
    shapes = [tuple(each.shape) for each in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][1] != 2 or shapes[0][2] not in (None, settings["length"]):
        checks.refuse("a net that answers questions must have one output, logits (B, 2, T)", shapes)
    checks.at_least("stride", settings.get("stride"), 0)
    checks.within("stride", settings["stride"], 0, settings["length"] - 1)
    checks.at_least("longest", settings.get("longest"), 1)
    no_answer = settings.get("no_answer", False)
    if not isinstance(no_answer, bool):
        checks.refuse("no_answer must be True or False", no_answer)
    checks.within("threshold", settings.get("threshold", 0.0), -1e6, 1e6)
    if no_answer and tokenizer_of(settings["tokenizer"]).encoded("a", "a").special[:1] != (True,):
        rule = "with no_answer the tokenizer's template must begin with a token of its own, which says so"
        checks.refuse(rule, "none", "Train it with ends=True.")


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, tuple[list[Question], list[Window], Mapping]]:
    """Returns questions as windows for a net, and what `decoded` needs to find the answers in its logits."""
    questions = questions_of(raw)
    windows = windows_of(questions, settings)
    return inputs_of(windows, settings), (questions, windows, settings)


def outputs_of(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> np.ndarray:
    """Returns the logits (W, 2, T) of prepared windows."""
    model = networks["model"]
    check_fits(model, inputs, name="raw input")
    return model.predict(inputs, batch_size=batch_size, verbose=0)


def decoded(logits: np.ndarray, labels: Sequence[str], context: tuple) -> list[dict[str, Any]]:
    """Returns the likeliest answer to each question; see `find_answers`."""
    questions, windows, settings = context
    return find_answers(np.asarray(logits), questions, windows, settings)


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns questions with answers as windows with the places of these, (W, 2) int32; see `labels_of`.

    Questions whose answer is in no window are left out with a `DataWarning`. Windows that are ready stay as they are.

    Raises:
        ArgumentError: the data are of another task, or no questions in memory; or no window has an answer.
    """
    if dataset.task not in ("unknown", TASK):
        checks.refuse(f"data must be of the task {TASK}", f"{dataset.name}: {dataset.task}")
    first = keras.tree.flatten(dataset.source.inputs)[0] if dataset.any_order else None
    is_raw = dataset.input_dtype == "string" if first is None else np.asarray(first).dtype.kind in "OUS"
    if is_raw and (first is None or not isinstance(dataset.source.inputs, Mapping)):
        hint = "kerasdl.data.text.question_data makes it of lists."
        checks.refuse("questions with answers must be a Dataset of both, in memory", dataset.name, hint)
    if not is_raw:
        return dataset
    raw = dataset.source.inputs
    if set(raw) != set(KEYS):
        checks.refuse(f"data of the task {TASK} must have the inputs {list(KEYS)}", list(raw))
    if dataset.source.weights is not None:
        checks.refuse("questions count once each; they must have no weights", dataset.name)
    questions = questions_of(raw)
    windows = windows_of(questions, settings)
    is_bare = dataset.source.labels is None  # samples of an export
    examples = Examples(inputs_of(windows, settings)) if is_bare else _learnt(dataset, questions, windows, settings)
    leaf = keras.tree.flatten(examples.inputs)[0]
    form = {"task": TASK, "input_shape": leaf.shape[1:], "input_dtype": "int32"}
    return dataclasses.replace(dataset.of_examples(examples), **form)


def _learnt(
    dataset: Dataset, questions: list[Question], windows: list[Window], settings: Mapping[str, Any]
) -> QuestionExamples:
    """Returns the windows to learn from, with the questions and answers by which one measures."""
    no_answer = settings.get("no_answer", False)
    answers = tuple(tuple(Answer(*each) for each in given) for given in dataset.source.labels)
    bare = [number for number, given in enumerate(answers) if not given]
    if bare and not no_answer:
        rule = f"questions of {dataset.name} must have answers for a net that always gives one"
        checks.refuse(rule, f"{len(bare)} without", "Set no_answer, or leave them out.")
    chosen, labels, missing = labels_of(windows, answers, no_answer=no_answer)
    if missing:
        first = questions[missing[0]].question[:60]
        count = f"{len(missing)} of {len(questions)} questions of {dataset.name}"
        rule = f"{count} have an answer that no window holds whole, such as {first!r}: it is not learnt"
        checks.warn(f"{rule}. Take longer windows or a larger stride.", DataWarning)
    if not chosen:
        hint = "Take longer windows, or a larger stride."
        checks.refuse(f"a window of {dataset.name} must hold an answer", f"{len(windows)} without", hint)
    inputs = inputs_of(chosen, settings)
    return QuestionExamples(inputs, labels, questions=tuple(questions), answers=answers, settings=dict(settings))


def figures(networks: Mapping[str, keras.Model], data: Dataset) -> dict[str, float]:
    """Returns the loss and the share of right spans over windows, and exact match and F1 of answers over questions.

    Windows without their questions, such as a pipeline's or a part of a dataset, have the first two alone.
    """
    model, total, count = networks["model"], 0.0, 0
    loss, exact = keras.losses.SparseCategoricalCrossentropy(from_logits=True), ExactMatch("span_accuracy")
    for inputs, labels in data.batches(64):
        logits = model(inputs, training=False)
        total, count = total + float(loss(labels, logits)) * len(labels), count + len(labels)
        exact.update_state(labels, logits)
    found = {"loss": total / max(count, 1), exact.name: float(exact.result())}
    source = data.source
    if not isinstance(source, QuestionExamples):
        return found
    inputs, context = prepared(list(source.questions), source.settings)
    given = [each["answer"] or "" for each in decoded(outputs_of(networks, inputs, 64), (), context)]
    return found | squad([[each.text for each in answers] for answers in source.answers], given)


def file_facts(
    networks: Mapping[str, keras.Model], settings: Mapping[str, Any], raw_shape: tuple | None
) -> dict[str, Any]:
    """Returns the steps for the app that feeds an exported file and reads its answer."""
    length, padding, stride = settings["length"], settings["padding_id"], settings["stride"]
    steps = [
        "Encode the pair (question, text) with offsets by the .tokenizer.json beside the file, which the packages "
        "`tokenizers` of Python, Rust and JavaScript read.",
        f"Cut the text alone into windows of {length} ids with the question, each beginning with the last {stride} ids "
        "of the text before it; the tokens of the tokenizer's template stay.",
        f"Put {padding} behind them up to {length}, and feed them as int32 (1, {length}).",
    ]
    if settings.get("segments"):
        steps.append("Feed `segments` in the same form: the type ids of the tokenizer, 0 behind them.")
    steps.append(
        f"The file gives (1, 2, {length}): logits to begin and to end the answer. Take the two tokens of the text, at "
        f"most {settings['longest']} apart counting both, the first not behind the last, of the largest sum over all "
        "windows; the answer is the text between their offsets."
    )
    if settings.get("no_answer"):
        steps.append(
            "The text has no answer where the sum at the first token, the least of all windows, exceeds that by more "
            f"than {settings.get('threshold', 0.0)}."
        )
    return {"text": {"steps": steps}}


def a_row_an_answer(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row: the answer, its score and its place."""
    return [{name: result[name] for name in ("answer", "score", "start", "end")}]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    """Draws texts with the places of answers among their tokens."""
    inputs, rng = drawn_texts(model, batch, seed), np.random.default_rng(seed + 1)
    length = keras.tree.flatten(inputs)[0].shape[1]
    return inputs, np.sort(rng.integers(0, length, (batch, 2)), axis=1).astype("int32")


register_task(
    Task(
        name=TASK,
        module=__name__,
        loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=lambda: [ExactMatch("span_accuracy")],
        monitor=("val_loss", "min"),
        check=check_answerer,
        preprocess=prepared,
        preprocess_layers=lambda settings, raw_shape: [],
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=outputs_of,
        ready=ready,
        figures=figures,
        label_arguments=lambda labels: {},
        table=a_row_an_answer,
        file_facts=file_facts,
        raw_example=lambda settings: '[("Who sat?", "The cat sat.")]',
        summary="finds the answer to a question in a text",
        limits="It answers with a part of the text, right or not, and knows nothing else than what the text says.",
    )
)
