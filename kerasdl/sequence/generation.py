"""Generation of tokens by a decoder, a pair of functions: greedy, by temperature and filters, or by beams.

Any model can generate that is given as a `Decoder`: a state before the last token of each prompt, and a step from a
token and a state to logits and the next state. The state of a recurrent model is what its cells carry, that of a
transformer is a cache of keys and values.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_whole
from kerasdl.layers import PaddingMask
from kerasdl.ops import beam_search, sample

from .decoders import Decoder, recurrent_decoder
from .token_ids import NO_TOKEN, padded_ids
from .transformer.cached_decoding import cached_decoder, overwrite_rows, position_limit, write_rows
from .watching import Watch
from .writing_rules import checked_grammar, ruled_decoder

KEPT = "_kept_generators"
LARGEST_SEED = 2**63 - 1  # of stateless_uniform, which takes int64
PROMPTED = (tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32))  # prompts and their lengths
DRAWING = {"temperature": 1.0, "top_k": None, "top_p": None, "min_p": None, "typical_p": None}
NO_RULES = {"penalty": 1.0, "ngram": None}
BROKEN = -2
"""Mark of a row whose logits were no numbers."""


class Written(NamedTuple):
    """Texts that a model wrote, and their scores."""

    tokens: np.ndarray
    """(B, length) int32, as `generate` returns them; of several beams (B, W, length), the best first."""
    scores: np.ndarray
    """(B,) or (B, W) float32: log-probability of the tokens under the model and its rules, before temperature and
    filters. Of beams it is divided by the length penalty, and -inf where fewer texts than W were found."""


def generate(
    model: keras.Model | Decoder,
    prompts: Any,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    repetition_penalty: float = 1.0,
    no_repeat_ngram: int | None = None,
    allowed: Any = None,
    beams: int | None = None,
    length_penalty: float = 0.0,
    groups: int = 1,
    diversity: float = 0.0,
    end: int | None = None,
    padding_id: int | None = None,
    stop: Sequence[str] = (),
    tokenizer: Any = None,
    on_tokens: Callable[[np.ndarray], Any] | None = None,
    seed: int = 0,
    return_scores: bool = False,
) -> np.ndarray | Written:
    """Returns the tokens that a language model writes behind prompts, in one compiled function.

    Each token is computed from the state that the model carries, not from the whole text again. The padding is never
    written, whatever its logit. The function is compiled once for a model and settings; prompts of other lengths and
    other seeds use it again. With `stop` or `on_tokens` one step is compiled, and Python calls it for each token; the
    tokens are the same.

    Args:
        model: a language model of recurrent layers or of causal attention, or a `Decoder`.
        prompts: token ids, a list of lists, or (B, P) with the padding behind each prompt; one token each at least.
        length: tokens to write, 1 or more.
        temperature: as in `kerasdl.ops.sample`; 0 always takes the likeliest token.
        top_k: as in `kerasdl.ops.sample`.
        top_p: as in `kerasdl.ops.sample`.
        min_p: as in `kerasdl.ops.sample`.
        typical_p: as in `kerasdl.ops.sample`.
        repetition_penalty: as `penalty` in `kerasdl.ops.repetition_penalty`, over prompt and written tokens.
        no_repeat_ngram: size of n-grams that come once in prompt and written tokens; None lets them repeat.
        allowed: a grammar. Either a table of integers (S, V), for each state and token the next state, or -1 where the
            token is not allowed; state 0 is before the first written token. Or a function of TensorFlow, from the text
            (B, L) int32 and the tokens that count (B,) to booleans (B, V). None allows all.
        beams: width of a beam search for the likeliest continuation, in place of draws; None draws.
        length_penalty: as in `kerasdl.ops.beam_search`.
        groups: as in `kerasdl.ops.beam_search`: groups of beams whose texts differ.
        diversity: as in `kerasdl.ops.beam_search`.
        end: token behind which nothing is written; None for none.
        padding_id: id of no token, behind prompts and behind the end of what is written; -1 where each id from 0 is a
            token, as in the vocabularies of GPT-2 and Llama 3. None takes that of `tokenizer`, else that of the model's
            `PaddingMask`, else -1, and then a prompt that ends with 0 is refused, since it may be meant as padding.
        stop: texts; a row ends with the token that completes one of them. It needs `tokenizer`.
        tokenizer: what `decode`s lists of ids to text, as `kerasdl.sequence.Tokenizer`.
        on_tokens: a function that is called with each new token of all rows, (B,) int32, the padding behind the end of
            a row.
        seed: seed of the draws, from 0 to 2**63 - 1. An equal seed writes equal tokens.
        return_scores: whether scores come too, and all texts of a beam search in place of the best.

    Returns:
        (B, length) int32 tokens behind each prompt, the end token included and the padding behind it; with
        `return_scores` a `Written`.

    Raises:
        ArgumentError: an argument breaks its rule, the model has another form, no such token or logits that are not
            finite, a text would be longer than the model's positions, or the rules allow no token.

    Example:
        >>> network = kerasdl.build("gru_language_model", length=None, vocabulary=9, embedding=4, units=4, depth=1)
        >>> generate(network, [[3, 5], [4]], 6, temperature=0).shape
        (2, 6)
    """
    checks.at_least("length", length, 1)
    if checks.at_least("seed", seed, 0) > LARGEST_SEED:
        checks.refuse(f"seed must be an integer of {LARGEST_SEED} at most", seed)
    padding_id = padding_for(model, padding_id, tokenizer)
    check_end(end, padding_id)
    drawing = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p}
    _check_search(beams, {"length_penalty": length_penalty, "groups": groups, "diversity": diversity}, drawing)
    watch = Watch(stop, tokenizer, on_tokens)
    if watch and (beams is not None or return_scores):
        checks.refuse("stop and on_tokens are for single texts without scores", (beams, return_scores))
    rules = {"penalty": repetition_penalty, "ngram": no_repeat_ngram}
    searched = {"beams": beams, "length_penalty": length_penalty, "groups": groups, "diversity": diversity}
    searched |= {"end": end, "length": length, "scored": return_scores}
    searched["padding"] = NO_TOKEN if padding_id is None else padding_id
    grammar, (tokens, counts) = checked_grammar(allowed), checked_prompts(prompts, padding_id)
    refuse_longer(model, tokens.shape[1] + length)
    refuse_unknown(model, tokens)
    noise = tf.random.stateless_uniform((length, len(tokens)), (seed, 0), dtype=tf.float64)
    make = _stream if watch else _function
    write = _compiled(model, make, {**drawing, **searched}, rules, grammar)
    prompted = tf.constant(tokens), tf.constant(counts)
    if watch:
        return _refuse_broken(write(*prompted, noise, watch))
    written, scores = (each.numpy() for each in write(*prompted, noise))
    _refuse_broken(written)
    if return_scores:
        return Written(written, scores)
    return written if beams is None else written[:, 0]


def _refuse_broken(written: np.ndarray) -> np.ndarray:
    if (written == BROKEN).any():
        rule = "logits of a model that writes must be finite, with a token that the rules allow"
        checks.refuse(rule, "NaN, infinite ones or none", "Look at the model's training, and at allowed=.")
    return written


def _check_search(beams: int | None, settings: Mapping[str, Any], drawing: Mapping[str, Any]):
    for name, value in settings.items():
        if beams is None and value != (1 if name == "groups" else 0):
            checks.refuse(f"{name} is for beams", value, "Pass beams=4.")
    if beams is not None and any(value != DRAWING.get(name) for name, value in drawing.items()):
        checks.refuse("a beam search draws nothing; leave temperature and filters out", dict(drawing))


def padding_for(model: keras.Model | Decoder, padding_id: int | None, tokenizer: Any = None) -> int | None:
    """Returns the padding of a call: as given, or that of the tokenizer or the model; None where nothing says it.

    Raises:
        ArgumentError: it is below -1, or another one than the model masks.
    """
    if padding_id is None and hasattr(tokenizer, "padding_id"):
        padding_id = NO_TOKEN if tokenizer.padding_id is None else tokenizer.padding_id
    if padding_id is not None:
        checks.at_least("padding_id", padding_id, NO_TOKEN, "-1 is for vocabularies without padding.")
    masked = None if isinstance(model, Decoder) else _masked_id(model)
    if None not in (masked, padding_id) and masked != padding_id:
        checks.refuse(f"padding_id must be {masked}, which {model.name!r} masks", padding_id)
    return masked if padding_id is None else padding_id


def _masked_id(model: keras.Model) -> int | None:
    """Returns the token id that a model masks, None if it masks none."""
    for layer in model.operations:
        if isinstance(layer, PaddingMask):
            return layer.padding_id
        if getattr(layer, "mask_zero", False):
            return 0
    return None


def check_end(end: int | None, padding_id: int | None) -> None:
    """Refuses an end that is no token."""
    if end is not None:
        checks.at_least("end", end, 0)
        if end == padding_id:
            hint = "Pass padding_id=-1 where each id is a token."
            checks.refuse("end must be another token than the padding, which is never written", end, hint)


def checked_prompts(prompts: Any, padding_id: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns prompts as token ids (B, P) int32 with 0 behind each, and their lengths (B,) int32.

    Raises:
        ArgumentError: there is none, one is empty, or something else than ids stands before the padding.
    """
    rule = "prompts must be lists of token ids"
    if not hasattr(prompts, "__len__") or not len(prompts):
        checks.refuse(rule, type(prompts).__name__, "Give one prompt as [ids].")
    rows = [np.asarray(each) for each in prompts]
    for row in rows:
        if row.ndim != 1 or row.dtype.kind not in "iu" or not len(row):
            checks.refuse(rule, " ".join(f"{row!r}".split())[:80], "Turn texts into token ids first.")
    padded, counts = padded_ids(rows, padding_id, "prompts")
    if not counts.all():
        checks.refuse("prompts must have a token each", f"prompts[{int(np.argmin(counts))}] of padding alone")
    return padded, counts


def _compiled(model: keras.Model | Decoder, make: Callable, settings: dict, rules: dict, grammar: Any) -> Callable:
    """Returns the compiled function of a model and settings, which a model keeps for the next call."""

    def fresh() -> Callable:
        decoder = model if isinstance(model, Decoder) else decoder_of(model, settings["length"], make is _function)
        if grammar is not None or rules != NO_RULES:
            decoder = ruled_decoder(decoder, settings["length"], **rules, allowed=grammar)
        step = functools.partial(_without_padding, decoder.step, settings["padding"])
        return make(Decoder(decoder.start, step), settings)

    if isinstance(model, Decoder) or grammar is not None:
        return fresh()
    kept = getattr(model, KEPT, None)
    if kept is None:
        kept = {}
        object.__setattr__(model, KEPT, kept)  # no attribute of Keras, which would track what is in it
    precision = tuple(each.compute_dtype for each in model.layers)  # fit may compute in another one
    key = (make.__name__, *settings.items(), *rules.items(), precision)
    if key not in kept:
        kept[key] = fresh()
    return kept[key]


def decoder_of(model: keras.Model, length: int, is_one_loop: bool) -> Decoder:
    """Returns the decoder of a model; in one loop no old state is read again, so that caches are written in place."""
    if any(isinstance(each, keras.layers.RNN) for each in model.operations):
        return recurrent_decoder(model)
    return cached_decoder(model, length, overwrite_rows if is_one_loop else write_rows)


def refuse_longer(model: keras.Model | Decoder, tokens: int):
    """Refuses a text that is longer than a table of positions; a decoder checks by itself."""
    limit = None if isinstance(model, Decoder) else position_limit(model)
    if limit is not None and tokens > limit:
        rule = f"prompt and tokens to write must be at most {limit}, the positions of {model.name!r}"
        checks.refuse(rule, tokens, "Give the end of a long prompt, or write less.")


def refuse_unknown(model: keras.Model | Decoder, tokens: np.ndarray, name: str = "prompts") -> None:
    """Refuses token ids for which a model's embedding has no row; a decoder checks by itself."""
    if not isinstance(model, Decoder):
        check_whole(model, model.inputs[0], tokens, name)


def _function(decoder: Decoder, settings: dict[str, Any]) -> Callable:
    make = _search if settings["beams"] else _draw
    signature = [*PROMPTED, tf.TensorSpec((None, None), tf.float64)]
    return tf.function(functools.partial(make, decoder, settings), input_signature=signature, autograph=False)


def _stream(decoder: Decoder, settings: dict[str, Any]) -> Callable:
    """Returns a function that writes token by token, each told to a `Watch`, with a compiled start and step."""
    start = tf.function(decoder.start, autograph=False, reduce_retracing=True)
    advance = tf.function(functools.partial(_next, decoder, settings), autograph=False, reduce_retracing=True)

    def write(prompts: tf.Tensor, counts: tf.Tensor, noise: tf.Tensor, watch: Watch) -> np.ndarray:
        tokens, state = _last_tokens(prompts, counts), start(prompts, counts)
        written = np.full((len(prompts), settings["length"]), settings["padding"], np.int32)
        is_over = tf.zeros(len(prompts), tf.bool)
        for number in range(settings["length"]):
            new, tokens, state, is_over, _ = advance(tokens, state, is_over, noise[number])
            written[:, number] = new
            is_over = is_over | watch(written[:, : number + 1], is_over.numpy())
            if is_over.numpy().all():
                break
        return written

    return write


def _without_padding(step: Callable, padding: int, tokens: Any, state: Any) -> tuple[Any, Any]:
    logits, state = step(tokens, state)
    return without_token(logits, padding), state


def without_token(logits: Any, token: int) -> Any:
    """Returns logits (..., V) with -inf for a token; as they are for one of -1."""
    if token == NO_TOKEN:
        return logits
    return ops.where(ops.arange(logits.shape[-1]) == token, ops.cast(float("-inf"), logits.dtype), logits)


def _last_tokens(prompts: Any, counts: Any) -> Any:
    return ops.take_along_axis(prompts, counts[:, None] - 1, axis=1)[:, 0]


def _search(decoder: Decoder, settings: dict[str, Any], prompts: Any, counts: Any, noise: Any) -> Any:
    names = ("length", "end", "length_penalty", "groups", "diversity")
    chosen = {"width": settings["beams"], **{name: settings[name] for name in names}}
    found = beam_search(decoder.step, decoder.start(prompts, counts), _last_tokens(prompts, counts), **chosen)
    is_written = ops.arange(settings["length"]) < found.lengths[..., None]  # (B, W, L)
    written = ops.where(is_written, found.tokens, settings["padding"])
    return ops.where(ops.isnan(found.scores)[..., None], BROKEN, written), found.scores


def _next(decoder: Decoder, settings: dict[str, Any], tokens: Any, state: Any, is_over: Any, noise: Any) -> tuple:
    """Returns the new token of each row, the one for the next step, the next state, which rows are over, and the
    logarithm of the new token's probability, 0 where a row is over or no score is asked for."""
    end = settings["end"]
    logits, state = decoder.step(tokens, state)
    if end is not None and end >= logits.shape[-1]:
        checks.refuse(f"end must be below the number of tokens {logits.shape[-1]}", end)
    new = sample(logits, noise=noise, **{name: settings[name] for name in DRAWING})
    chances = ops.zeros(ops.shape(new), "float32")
    if settings["scored"]:
        logarithms = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        logarithms = ops.take_along_axis(logarithms, ops.maximum(new, 0)[:, None], axis=1)[:, 0]
        chances = ops.where(is_over, chances, logarithms)
    new = ops.where(is_over, settings["padding"], ops.where(new < 0, BROKEN, new))
    is_over = ops.logical_or(is_over, new == BROKEN)
    if end is not None:
        is_over = ops.logical_or(is_over, new == end)
    return new, ops.maximum(new, 0), state, is_over, chances


def _draw(decoder: Decoder, settings: dict[str, Any], prompts: Any, counts: Any, noise: Any) -> Any:
    length, last = settings["length"], _last_tokens(prompts, counts)

    def goes_on(number: Any, tokens: Any, state: Any, written: Any, is_over: Any, scores: Any) -> Any:
        return ops.logical_and(number < length, ops.logical_not(ops.all(is_over)))

    def advance(number: Any, tokens: Any, state: Any, written: Any, is_over: Any, scores: Any) -> tuple:
        row = ops.take(noise, number, axis=0)
        new, tokens, state, is_over, chances = _next(decoder, settings, tokens, state, is_over, row)
        written = ops.where(ops.arange(length) == number, new[:, None], written)
        return number + 1, tokens, state, written, is_over, scores + chances

    written = ops.full((ops.shape(prompts)[0], length), settings["padding"], "int32")
    scores = ops.zeros(ops.shape(last), "float32")
    begin = (0, last, decoder.start(prompts, counts), written, ops.zeros_like(last) > 0, scores)
    found = ops.while_loop(goes_on, advance, begin)
    return found[3], found[5]
