"""Tokens a second of GPT-2 small with drawn weights, greedy, one text: kerasdl, LiteRT in int8, transformers, KerasHub.

    python benchmarks/generate.py [TOKENS]

All run in turns in one run, each in a process of its own that waits for its turn; the best of three turns counts. Peers
run in the Python that PEERS_PYTHON names, and are left out where they are not installed. The share of the memory
bandwidth is the bytes of the weights, which each token reads, times tokens a second, over what a sum of a large array
reads.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np

TURNS, PROMPT, WIDTHS = 3, list(range(1, 9)), {"kerasdl": 4, "litert": 1, "transformers": 4, "keras_hub": 4}
WEIGHTS = 124_439_808


def kerasdl_float(count):
    import kerasdl
    from kerasdl.sequence import generate

    model = kerasdl.build("gpt2_small", length=None)
    return lambda: generate(model, [PROMPT], count, temperature=0)


def litert_dynamic(count):
    """A loop over the step's own buffers, so that no cache is copied."""
    import tempfile

    from ai_edge_litert.interpreter import Interpreter

    import kerasdl
    from kerasdl.core import get_task
    from kerasdl.deploy import export_tflite
    from kerasdl.sequence import cached_step

    networks = {"step": cached_step(kerasdl.build("gpt2_small", length=None), len(PROMPT) + count)}
    samples = get_task("language_modeling").exported_samples(networks, np.array([PROMPT]))
    with tempfile.TemporaryDirectory() as folder:
        way = {"quantize": "dynamic", "tolerance": 1.0}  # drawn weights: caches of ten times the range are far off
        export_tflite(networks, f"{folder}/step.tflite", representative=samples, **way)
        interpreter = Interpreter(f"{folder}/step.tflite", num_threads=os.cpu_count())
        signature = interpreter.get_signature_list()["step"]
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("step")
    places = {name: each["index"] for name, each in runner.get_input_details().items()}
    found = {name: each["index"] for name, each in runner.get_output_details().items()}
    assert set(signature["inputs"]) == set(places)

    def write():
        tokens = list(PROMPT)
        for place in range(len(PROMPT) + count - 1):
            interpreter.tensor(places["token"])()[:] = tokens[place]
            interpreter.tensor(places["position"])()[:] = place
            interpreter.invoke()
            for name in places.keys() - {"token", "position"}:
                interpreter.tensor(places[name])()[:, :, place] = interpreter.tensor(found[f"{name}_row"])()[:, :, 0]
            if place + 1 >= len(PROMPT):
                tokens.append(int(interpreter.tensor(found["logits"])()[0, 1:].argmax()) + 1)

    return write


def transformers_float(count):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    model, prompt = GPT2LMHeadModel(GPT2Config()).eval(), torch.tensor([PROMPT])
    way = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}

    def write():
        with torch.no_grad():
            model.generate(prompt, attention_mask=torch.ones_like(prompt), **way)

    return write


def keras_hub_float(count):
    import keras_hub

    sizes = {"vocabulary_size": 50_257, "num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}
    model = keras_hub.models.GPT2CausalLM(keras_hub.models.GPT2Backbone(**sizes, max_sequence_length=1024))
    model.compile(sampler="greedy")
    whole = np.array([PROMPT + [0] * count], "int32")
    inputs = {"token_ids": whole, "padding_mask": np.arange(whole.shape[1])[None] < len(PROMPT)}
    return lambda: model.generate(inputs, stop_token_ids=None)


MAKERS = {
    "kerasdl": kerasdl_float,
    "litert": litert_dynamic,
    "transformers": transformers_float,
    "keras_hub": keras_hub_float,
}


def serve(name, count):
    """Answers each line on the input with the seconds of one text; the first text compiles and is not timed."""
    write = MAKERS[name](count)
    write()
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        write()
        print(time.perf_counter() - begin, flush=True)


def bandwidth():
    """Returns the bytes a second that a sum over 1 GB reads."""
    array, best = np.ones(2**28, "float32"), 1e9
    for _ in range(3):
        begin = time.perf_counter()
        array.sum()
        best = min(best, time.perf_counter() - begin)
    return array.nbytes / best


def main(count):
    peer = os.environ.get("PEERS_PYTHON", sys.executable)
    pythons = {"kerasdl": sys.executable, "litert": sys.executable, "transformers": peer}
    pythons["keras_hub"] = os.environ.get("KERAS_HUB_PYTHON", peer)
    running = {}
    for name, python in pythons.items():
        command = [python, __file__, name, str(count)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if any(line.strip() == "ready" for line in iter(process.stdout.readline, "")):
            running[name] = process
        else:
            print(json.dumps({"name": name, "left_out": f"does not run in {python}"}))
    seconds = {name: [] for name in running}
    for _ in range(TURNS):
        for name, process in running.items():
            process.stdin.write("\n")
            process.stdin.flush()
            seconds[name].append(float(process.stdout.readline()))
    most = bandwidth()
    for name, process in running.items():
        process.stdin.close()
        speed = count / min(seconds[name])
        share = speed * WEIGHTS * WIDTHS[name] / most
        print(json.dumps({"name": name, "tokens_per_second": round(speed, 1), "share_of_bandwidth": round(share, 2)}))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        serve(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
