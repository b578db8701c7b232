"""Chats with a net whose answers are known, and with drawn ones: history, stops, streams, seeds, the command."""

import itertools

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl import sequence
from kerasdl.cli.commands import app
from kerasdl.core.errors import ArgumentError
from kerasdl.sequence import Chat, ChatTemplate, generate

TEXT = "User: hello\nAssistant: good day. What now?\n\nBe kind 0123456789 <|x|>"
PLAIN = ChatTemplate(system="{text}\n", user="User: {text}\n", assistant="Assistant:{text}\n", reply="Assistant:")


def lettered():
    return sequence.train_tokenizer([TEXT], "char", 80)


def following(tokenizer, pairs, positions=200):
    """Returns a net that writes behind each letter the one that the pairs say: products of one-hot vectors."""
    size = tokenizer.vocabulary
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    vectors = keras.layers.Embedding(size, size, embeddings_initializer="identity", name="embedding")(tokens)
    states = keras.layers.SimpleRNN(
        size,
        activation=None,
        use_bias=False,
        kernel_initializer="identity",
        recurrent_initializer="zeros",
        return_sequences=True,
    )(vectors)
    head = keras.layers.Dense(size, use_bias=False, dtype="float32", name="head")
    network = keras.Model(tokens, head(states))
    table = np.zeros((size, size), "float32")
    for first, second in pairs:
        table[tokenizer.id_of(first), tokenizer.id_of(second)] = 30.0
    head.set_weights([table])
    return network


def chain(text):
    return [*itertools.pairwise(text)]


def test_a_reply_ends_at_a_stop_and_is_remembered():
    tokenizer, told = lettered(), []
    network = following(tokenizer, chain(":go") + chain("o d\nU") + chain("Us") + chain("ser:"))
    chat = Chat(network, tokenizer, ChatTemplate(stop=("\nUse",), reply="Assistant:"), temperature=0, length=30)
    reply = chat.say("hello", told.append)
    assert reply == "go d" == "".join(told)
    assert chat.messages == [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "go d"}]
    assert chat.say("now?") == "go d"
    assert [each["content"] for each in chat.messages] == ["hello", "go d", "now?", "go d"]
    chat.reset()
    assert chat.messages == []


def test_a_stop_that_does_not_come_is_told_in_the_end():
    tokenizer, told = lettered(), []
    network = following(tokenizer, chain(":go\nUo"))
    chat = Chat(network, tokenizer, ChatTemplate(stop=("\nUser:",)), temperature=0, length=5)
    assert chat.say("hello", told.append) == "go\nUo"[:5] == "".join(told)
    assert told[0] == "g"


def drawn(length=None, positions=64):
    tokenizer = lettered()
    sizes = {"vocabulary": tokenizer.vocabulary, "positions": positions, "width": 16, "depth": 1, "heads": 2}
    network = kerasdl.build("gpt_nano", length=length, **sizes)
    rng = np.random.default_rng(3)
    for weight in network.weights:
        weight.assign(weight.numpy() + rng.normal(0, 0.3, weight.shape))
    return network, tokenizer


def test_history_is_cut_at_whole_turns_and_the_system_stays():
    network, tokenizer = drawn()
    chat = Chat(network, tokenizer, PLAIN, system="Be kind", length=8, temperature=1.0)
    seen = []
    for number in range(6):
        before = list(chat.messages)
        reply = chat.say(f"now {number}")
        kept = [*before[:1], *before[1 + 2 * chat.forgotten :], {"role": "user", "content": f"now {number}"}]
        prompt = tokenizer.encode(PLAIN.render(kept), special_tokens=False)
        assert len(prompt) + 8 <= 64
        longer = [*before[:1], *before[2 * chat.forgotten - 1 :], kept[-1]]
        if chat.forgotten:
            assert len(tokenizer.encode(PLAIN.render(longer), special_tokens=False)) + 8 > 64
        way = {"padding_id": 0, "seed": number, "end": tokenizer.end_id}
        (row,) = generate(network, [prompt], 8, stop=list(PLAIN.stop), tokenizer=tokenizer, **way)
        assert reply == tokenizer.decode([int(each) for each in row if each not in (0, tokenizer.end_id)]).strip()
        seen.append(chat.forgotten)
    assert seen[0] == 0 < seen[-1]
    assert len(chat.messages) == 13


def test_an_equal_seed_gives_an_equal_chat():
    network, tokenizer = drawn()
    talks = []
    for seed in (1, 1, 2):
        chat = Chat(network, tokenizer, PLAIN, length=10, temperature=3.0, seed=seed)
        talks.append([chat.say("a"), chat.say("o")])
    assert talks[0] == talks[1] != talks[2]


def test_what_a_chat_cannot_do_is_refused_and_changes_nothing():
    network, tokenizer = drawn()
    chat = Chat(network, tokenizer, PLAIN, length=8)
    chat.say("a")
    before = list(chat.messages)
    for text, rule in (
        (" ", "a message must be a text"),
        (3, "a message must be a text"),
        ("now " * 20, "must have at most 56 tokens"),
        ("a[PAD]b", "must not hold special tokens"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            chat.say(text)
        assert chat.messages == before
    plain = kerasdl.Bundle.of(network, name="lines", task="language_modeling", preprocess={"length": 64})
    for make, rule in (
        (lambda: Chat(network), "must have a tokenizer"),
        (lambda: Chat("bundle"), "must be with a bundle or a model"),
        (lambda: Chat(plain), "must hold a tokenizer"),
        (lambda: Chat(kerasdl.load_bundle("digits_mobilenet")), "must be of the task language_modeling"),
        (lambda: Chat(network, tokenizer, context=65, length=8), "context must be at most 64"),
        (lambda: Chat(network, tokenizer, length=64), "context must be an integer of 65 or more"),
        (lambda: Chat(network, tokenizer, length=0), "length must be"),
        (lambda: Chat(network, tokenizer, system=3, length=8), "system must be a text"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            make()


def test_rows_beyond_the_tokens_are_never_written():
    tokenizer, told = lettered(), []
    sizes = {"positions": 64, "width": 16, "depth": 1, "heads": 2}
    network = kerasdl.build("gpt_nano", length=None, vocabulary=tokenizer.vocabulary + 200, **sizes)
    chat = Chat(network, tokenizer, PLAIN, length=20, temperature=2.0)
    assert chat.say("hello", told.append) == "".join(told).rstrip()
    few = kerasdl.build("gpt_nano", length=None, vocabulary=tokenizer.vocabulary - 1, **sizes)
    with pytest.raises(ArgumentError, match="a row for each of"):
        Chat(few, tokenizer, PLAIN, length=20)


def test_a_special_token_among_the_stops_ends_a_reply():
    tokenizer = sequence.train_tokenizer([TEXT], "char", 80, special=["<|end|>"])
    network = following(tokenizer, [*chain(":go"), ("o", "<|end|>"), ("<|end|>", "d")])
    chat = Chat(network, tokenizer, ChatTemplate(stop=("<|end|>",)), temperature=0, length=9)
    assert chat.say("hello") == "go"


def test_the_command_answers_messages_and_lines(tmp_path):
    tokenizer = lettered()
    network = following(tokenizer, chain(":go") + chain("o d\nU") + chain("Us") + chain("ser:"))
    settings = {"length": 64, "tokenizer": tokenizer.to_text(), "chat_template": PLAIN.to_settings()}
    bundle = kerasdl.Bundle.of(network, name="talk", task="language_modeling", preprocess=settings)
    path = str(tmp_path / "talk.zip")
    bundle.save(path)
    options = ["--temperature", "0", "--length", "30"]
    run = CliRunner().invoke(app, ["chat", path, "hello", "now?", *options])
    assert (run.exit_code, run.stdout) == (0, "go d\ngo d\n"), run.output
    run = CliRunner().invoke(app, ["chat", path, *options], input="hello\n\n/reset\nnow?\n/quit\nday\n")
    assert (run.exit_code, run.stdout) == (0, "go d\ngo d\n"), run.output
    run = CliRunner().invoke(app, ["chat", path, "hello", "--json", *options])
    assert '"content": "go d"' in run.stdout
    source = tmp_path / "template.jinja"
    source.write_text("{{ raise_exception('not today') }}")
    run = CliRunner().invoke(app, ["chat", path, "hello", "--template", str(source), *options])
    assert run.exit_code == 2
    assert "not today" in run.output
