"""The processes that train together, as the loop sees them: who writes, and what all of them do at the same step.

Workers must call the same collective operations in the same order. What one alone knows (a signal, the time, what a
callback answered) is a wish: it travels with the sums of the next step, and all act on it after the same step.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ..loop.coordination import NO_REQUEST, Coordinator, Request
from .gradient_sums import all_reduce_sum

_ALL = tuple(Request)


class Workers(Coordinator):
    """One of the workers of a MultiWorkerMirroredStrategy."""

    KEY = "wishes"

    def __init__(self, strategy: tf.distribute.Strategy):
        resolver = strategy.cluster_resolver
        self.strategy, self.index = strategy, resolver.task_id
        self.chief = resolver.task_type in (None, "chief") or self.index == 0
        self.size = len(tf.nest.flatten(list(resolver.cluster_spec().as_dict().values())))
        self.local_replicas = strategy.num_replicas_in_sync // self.size
        with tf.init_scope():
            self.request_vector = tf.Variable(tf.zeros(len(_ALL)), trainable=False)
        self.pending = NO_REQUEST
        self._sum = tf.function(functools.partial(self._summed), autograph=False)

    def requests_after_step(self, values: Mapping[str, Any], own: Request) -> Request:
        requests_after_step = _to_request(np.max(np.atleast_2d(values[self.KEY].numpy()), axis=0))
        pending = own & ~requests_after_step
        if pending != self.pending:
            self.request_vector.assign(_to_vector(pending))
            self.pending = pending
        return requests_after_step

    def all_reduce_requests(self, own: Request) -> Request:
        requests_after_step = _to_request(self._sum(tf.constant(_to_vector(own | self.pending), tf.float64)).numpy())
        self.request_vector.assign(_to_vector(NO_REQUEST))
        self.pending = NO_REQUEST
        return requests_after_step

    def all_gather(self, number: float) -> Sequence[float]:
        mine = np.zeros(self.size)
        mine[self.index] = number
        return (self._sum(tf.constant(mine)).numpy() / self.local_replicas).tolist()

    def broadcast_from_chief(self, value: Any) -> Any:
        text = json.dumps(value).encode() if self.chief else b""
        letters = np.zeros(round(max(self.all_gather(len(text)))))
        letters[: len(text)] = list(text)
        total = self._sum(tf.constant(letters)).numpy() / self.local_replicas
        return json.loads(bytes(np.rint(total).astype(np.uint8)))

    def _summed(self, value: tf.Tensor) -> tf.Tensor:
        total = self.strategy.run(lambda mine: all_reduce_sum([mine])[0], args=(value,))
        return self.strategy.experimental_local_results(total)[0]


def broadcast_variables(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Gives the variables of all replicas the values that the first replica of the chief has."""

    def take():
        context = tf.distribute.get_replica_context()
        is_first = tf.equal(tf.convert_to_tensor(context.replica_id_in_sync_group), 0)
        mine = [tf.cast(variable, _carrier(variable)) for variable in variables]
        sent = [tf.where(is_first, value, tf.zeros_like(value)) for value in mine]
        for variable, value in zip(variables, all_reduce_sum(sent), strict=True):
            variable.assign(tf.cast(value, variable.dtype))

    if variables:
        tf.function(functools.partial(strategy.run, take), autograph=False)()


def _carrier(variable: tf.Variable) -> tf.DType:
    # Collectives know no unsigned and no 16-bit numbers; float64 holds every count and seed exactly.
    return variable.dtype if variable.dtype in (tf.float32, tf.float64) else tf.float64


def _to_vector(wishes: Request) -> np.ndarray:
    return np.array([float(bool(wishes & request)) for request in _ALL], np.float32)


def _to_request(vector: np.ndarray) -> Request:
    found = NO_REQUEST
    for request, value in zip(_ALL, vector, strict=True):
        found |= request if value > 0 else NO_REQUEST
    return found
