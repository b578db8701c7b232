"""The toys as members of the registry: five nets, of three tasks of their own and of the task `network`."""

import copying
import gan
import grid
import squares
from registering import registered

from kerasdl.core import register_task

TASKS = (gan.TASK, copying.TASK, squares.TASK)
WEIGHTS = "biases and kernels, layer by layer, in test_toys_contract.py"
NAMES = ("toy_generator", "toy_discriminator", "toy_seq2seq", "toy_detector", "toy_q_network")


def register_toys():
    """Registers tasks and nets, within `registering()`."""
    for task in TASKS:
        register_task(task)

    def add(name, builder, task, params, **settings):
        named = {"variants": {name: {}}, "params": {name: params}, "reference": WEIGHTS}
        registered(builder, task=task, **named, **settings)

    add("toy_generator", gan.generator, "toy_generation", 1_282, partners={"discriminator": "toy_discriminator"})
    add("toy_discriminator", gan.discriminator, "network", 1_185)
    add("toy_seq2seq", copying.seq2seq, "toy_copying", 13_704, qat="partial", free={"length": None})
    add("toy_detector", squares.detector, "toy_detection", 5_130)
    add("toy_q_network", grid.q_network, "network", 340)
