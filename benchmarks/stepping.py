"""Steps a second of environments under random actions, in one compiled loop.

    python benchmarks/stepping.py                     # 4,096 CartPoles, then the other environments
    python benchmarks/stepping.py cartpole --count 1024

Each line has the steps of environments a second of wall time and of processor time, and the load of the machine before:
on a machine that others use, the figure of processor time times the number of cores is nearer to what it could do.
"""

import argparse
import json
import os
import time

import tensorflow as tf

from kerasdl import rl

SECONDS = 5.0


def measure(name: str, count: int, compiled: bool) -> dict:
    """Returns the figures of one environment: at least three calls of at least five seconds together."""
    vectors = rl.VectorEnvironment(rl.make(name), count)

    @tf.function(jit_compile=compiled)
    def run(state: rl.VectorState, steps: tf.Tensor) -> tuple[rl.VectorState, tf.Tensor]:
        def body(index, state, total):
            state, transition = vectors.step(state, vectors.random_actions(state))
            return index + 1, state, total + tf.reduce_sum(transition.reward)

        return tf.while_loop(lambda index, *_: index < steps, body, (0, state, 0.0))[1:]

    state, total = run(vectors.reset(seed=0), tf.constant(10))
    load, steps, calls = os.getloadavg()[0], 500, 0
    wall, processor = time.perf_counter(), time.process_time()
    while calls < 3 or time.perf_counter() - wall < SECONDS:
        state, total = run(state, tf.constant(steps))
        total.numpy()
        calls += 1
    done = calls * steps * count
    return {
        **{"environment": name, "count": count, "xla": compiled},
        "steps_per_second": round(done / (time.perf_counter() - wall)),
        "steps_per_processor_second": round(done / (time.process_time() - processor)),
        **{"load": round(load, 1), "cores": os.cpu_count()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=None)
    parser.add_argument("--count", type=int, default=4096)
    parser.add_argument("--plain", action="store_true", help="without XLA")
    asked = parser.parse_args()
    for name in asked.names or ["cartpole", *sorted(set(rl.list_environments()) - {"cartpole"})]:
        print(json.dumps(measure(name, asked.count, not asked.plain)), flush=True)


if __name__ == "__main__":
    main()
