"""A sequence-to-sequence net that copies digits: two inputs, a weight at each step, generation token by token."""

import keras
import numpy as np

from kerasdl.core import Task, checks

VOCABULARY, LENGTH, WIDTH = 8, 5, 32
PADDING, START = 0, 1


def seq2seq(*, length=LENGTH):
    """A sequence-to-sequence net with attention."""
    source = keras.Input((length,), dtype="int32", name="source")
    given = keras.Input((length,), dtype="int32", name="given")
    memory = keras.layers.Embedding(VOCABULARY, WIDTH, name="source_embedding")(source)
    memory = keras.layers.GRU(WIDTH, return_sequences=True, name="encoder")(memory)
    state = keras.layers.GlobalAveragePooling1D(name="summary")(memory)
    x = keras.layers.Embedding(VOCABULARY, WIDTH, name="given_embedding")(given)
    x = keras.layers.GRU(WIDTH, return_sequences=True, name="decoder")(x, initial_state=state)
    seen = keras.layers.Attention(name="attention")([x, memory])
    x = keras.layers.Concatenate(name="joined")([x, seen])
    return keras.Model([source, given], keras.layers.Dense(VOCABULARY, dtype="float32", name="head")(x), name="seq2seq")


def padded(sequences):
    rows = np.full((len(sequences), LENGTH), PADDING, "int32")
    for row, tokens in zip(rows, sequences, strict=True):
        row[: len(tokens)] = tokens
    return rows


def sequences(count=600, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, VOCABULARY, rng.integers(1, LENGTH + 1)) for _ in range(count)]


def examples(count=600, seed=0):
    """Returns inputs by name, what comes next at each step, and a weight of 1 at each step that is no padding."""
    rows = padded(sequences(count, seed))
    given = np.concatenate([np.full((len(rows), 1), START, "int32"), rows[:, :-1]], axis=1)
    return {"source": rows, "given": given}, rows, (rows != PADDING).astype("float32")


def prepared(raw, settings):
    if not hasattr(raw, "__len__") or not all(0 < len(each) <= settings["length"] for each in raw):
        checks.refuse(f"raw must be lists of 1 to {settings['length']} tokens", f"{raw!r}"[:60])
    return padded(raw), [len(each) for each in raw]


def generated(networks, source, batch_size):
    """Takes the likeliest token at each step, and feeds it back."""
    rows = np.full((len(source), LENGTH + 1), START, "int32")
    for step in range(LENGTH):
        logits = networks["model"].predict([source, rows[:, :-1]], batch_size=batch_size, verbose=0)
        rows[:, step + 1] = logits[:, step].argmax(-1)
    return rows[:, 1:]


def right_copies(networks, data):
    """Returns the share of sequences that are copied whole."""
    source = data.arrays()[0]["source"]
    answers = generated(networks, source, 64)
    return {"copied": float(((answers == source) | (source == PADDING)).all(1).mean())}


def encoder_and_step(networks):
    """Takes the net apart: what runs once for a source, and what runs once for each token, of the same layers."""
    layer = networks["model"].get_layer
    source = keras.Input((LENGTH,), dtype="int32", name="source")
    memory = layer("encoder")(layer("source_embedding")(source))
    encoder = keras.Model(source, {"memory": memory, "state": layer("summary")(memory)}, name="encoder")
    token = keras.Input((1,), dtype="int32", name="token")
    state, memory = keras.Input((WIDTH,), name="state"), keras.Input((LENGTH, WIDTH), name="memory")
    x = layer("decoder")(layer("given_embedding")(token), initial_state=state)
    logits = layer("head")(layer("joined")([x, layer("attention")([x, memory])]))
    outputs = {"logits": logits, "next_state": keras.layers.Reshape((WIDTH,), name="next_state")(x)}
    return {"encoder": encoder, "step": keras.Model([token, state, memory], outputs, name="step")}


def steps_of(networks, inputs):
    """Runs the decoder over what is given, and takes its inputs at every step."""
    encoded = networks["encoder"].predict(inputs["source"], verbose=0)
    state, steps = encoded["state"], []
    for token in inputs["given"].T:
        steps.append({"token": token[:, None], "state": state, "memory": encoded["memory"]})
        state = networks["step"].predict(steps[-1], verbose=0)["next_state"]
    fed = {name: np.concatenate([step[name] for step in steps]) for name in steps[0]}
    return {"encoder": inputs["source"], "step": fed}


TASK = Task(
    name="toy_copying",
    module=__name__,
    loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=list,
    monitor=("val_loss", "min"),
    check=lambda settings, labels, model: checks.at_least("length", settings.get("length"), 1),
    preprocess=prepared,
    preprocess_layers=lambda settings, shape: [],
    decode=lambda tokens, labels, context: [
        {"tokens": row[:length].tolist()} for row, length in zip(tokens, context, strict=True)
    ],
    replace_head=None,
    example=lambda model, batch, seed: examples(batch, seed)[:2],
    predict=generated,
    figures=right_copies,
    exported=encoder_and_step,
    exported_samples=steps_of,
    summary="copies a sequence of tokens",
    limits="It knows the tokens 2 to 7, in sequences of at most 5.",
)
