"""Q-learning on a grid of 3 x 3: a step of one's own on `run_steps`, a replay buffer, returns as a measured figure."""

import keras
import numpy as np
import tensorflow as tf

from kerasdl.train import LoopConfig, RunCallback, State, run_steps

SIDE, GOAL, LONGEST = 3, 8, 12
MOVES = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
BUFFER, BATCH, DISCOUNT, EXPLORE = 256, 32, 0.9, 0.3


def moved(cell, action):
    """Returns the next cell, the reward and whether the goal is reached."""
    row, column = np.clip(np.divmod(cell, SIDE) + MOVES[action], 0, SIDE - 1)
    following = int(row * SIDE + column)
    return following, float(following == GOAL), following == GOAL


def q_network():
    """The value of each move from a cell."""
    cell = keras.Input((SIDE**2,), name="cell")
    x = keras.layers.Dense(24, activation="relu", name="hidden")(cell)
    return keras.Model(cell, keras.layers.Dense(4, dtype="float32", name="values")(x), name="q_network")


def one_hot(cells):
    return np.eye(SIDE**2, dtype="float32")[cells]


class Agent:
    """Plays one move a step, keeps it, and learns from a drawn batch of what it kept (https://arxiv.org/abs/1312.5602)."""

    def __init__(self, seed=0):
        keras.utils.set_random_seed(seed)
        self.network, self.optimizer, self.seed = q_network(), keras.optimizers.Adam(5e-3), seed
        self.optimizer.build(self.network.trainable_variables)
        self.kept = tf.Variable(tf.zeros((BUFFER, 5)))  # cell, action, reward, next cell, over
        self.count, self.cell = (tf.Variable(0, dtype="int64") for _ in range(2))
        self.update = tf.function(self._update, autograph=False)

    def step(self, stream):
        rng = np.random.default_rng((self.seed, int(self.count)))
        cell = int(self.cell)
        greedy = int(self.network(one_hot([cell])).numpy().argmax())
        action = int(rng.integers(4)) if rng.random() < EXPLORE else greedy
        following, reward, over = moved(cell, action)
        self.kept[int(self.count) % BUFFER].assign([cell, action, reward, following, float(over)])
        self.count.assign_add(1)
        self.cell.assign(int(rng.integers(GOAL)) if over else following)
        rows = rng.integers(0, min(int(self.count), BUFFER), BATCH)
        return {"loss": self.update(tf.gather(self.kept, rows))}

    def _update(self, rows):
        cell, action, reward, following, over = tf.unstack(rows, axis=1)
        cells = tf.one_hot(tf.cast(tf.stack([cell, following]), tf.int32), SIDE**2)
        target = reward + DISCOUNT * (1 - over) * tf.reduce_max(self.network(cells[1]), axis=1)
        with tf.GradientTape() as tape:
            values = tf.gather(self.network(cells[0]), tf.cast(action, tf.int32), batch_dims=1)
            loss = tf.reduce_mean(tf.square(values - tf.stop_gradient(target)))
        variables = self.network.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def of_optimizer(self):
        return {f"adam/{place}": each for place, each in enumerate(self.optimizer.variables)}

    def state(self, steps_per_epoch):
        return State(
            model=self.network,
            weights={f"q/{place}": each for place, each in enumerate(self.network.variables)},
            extras={"count": self.count, "cell": self.cell, **self.of_optimizer()},
            large={"replay": self.kept},
            stream=lambda epoch, batch: None,
            steps_per_epoch=steps_per_epoch,
            run_callbacks=[Return(self.network)],
        )


class Return(RunCallback):
    """Measures the discounted return of greedy play from every cell."""

    def __init__(self, network):
        self.network = network

    def measure(self, epoch):
        total = 0.0
        for start in range(GOAL):
            cell, gain = start, 1.0
            for _ in range(LONGEST):
                cell, reward, over = moved(cell, int(self.network(one_hot([cell])).numpy().argmax()))
                total += gain * reward
                gain *= DISCOUNT
                if over:
                    break
        return {"return": total / GOAL}


BEST = sum(DISCOUNT ** (4 - (cell // SIDE + cell % SIDE) - 1) for cell in range(GOAL)) / GOAL
"""The return of the shortest ways."""


def play(agent, epochs, folder=None, steps=80):
    config = LoopConfig(epochs=epochs, folder=folder, monitor=("return", "max"), progress="off")
    return run_steps(agent.step, agent.state(steps), config)
