"""Coordination of the workers of a MultiWorkerMirroredStrategy: reduced requests, gathered and broadcast values.

Workers must call the same collective operations in the same order. An event in one worker (a signal, the time, the
answer of a callback) becomes a `Request`: it is reduced with the gradients of the next step, and all workers act on it
after the same step.
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

    KEY = "worker_requests"

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
        requests = _to_request(np.max(np.atleast_2d(values[self.KEY].numpy()), axis=0))
        pending = own & ~requests
        if pending != self.pending:
            self.request_vector.assign(_to_vector(pending))
            self.pending = pending
        return requests

    def all_reduce_requests(self, own: Request) -> Request:
        requests = _to_request(self._sum(tf.constant(_to_vector(own | self.pending), tf.float64)).numpy())
        self.request_vector.assign(_to_vector(NO_REQUEST))
        self.pending = NO_REQUEST
        return requests

    def all_gather(self, number: float) -> Sequence[float]:
        own_values = np.zeros(self.size)
        own_values[self.index] = number
        return (self._sum(tf.constant(own_values)).numpy() / self.local_replicas).tolist()

    def broadcast_from_chief(self, value: Any) -> Any:
        text = json.dumps(value).encode() if self.chief else b""
        encoded = np.zeros(round(max(self.all_gather(len(text)))))
        encoded[: len(text)] = list(text)
        total = self._sum(tf.constant(encoded)).numpy() / self.local_replicas
        return json.loads(bytes(np.rint(total).astype(np.uint8)))

    def _summed(self, value: tf.Tensor) -> tf.Tensor:
        total = self.strategy.run(lambda own_values: all_reduce_sum([own_values])[0], args=(value,))
        return self.strategy.experimental_local_results(total)[0]


def broadcast_variables(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Assigns the values of the first replica of the chief to the variables of all replicas."""

    def receive():
        context = tf.distribute.get_replica_context()
        is_first = tf.equal(tf.convert_to_tensor(context.replica_id_in_sync_group), 0)
        own_values = [tf.cast(variable, _reduction_dtype(variable)) for variable in variables]
        sent = [tf.where(is_first, value, tf.zeros_like(value)) for value in own_values]
        for variable, value in zip(variables, all_reduce_sum(sent), strict=True):
            variable.assign(tf.cast(value, variable.dtype))

    if variables:
        tf.function(functools.partial(strategy.run, receive), autograph=False)()


def _reduction_dtype(variable: tf.Variable) -> tf.DType:
    # Collectives have no unsigned and no 16-bit types; float64 holds every count and seed exactly.
    return variable.dtype if variable.dtype in (tf.float32, tf.float64) else tf.float64


def _to_vector(requests: Request) -> np.ndarray:
    return np.array([float(bool(requests & request)) for request in _ALL], np.float32)


def _to_request(vector: np.ndarray) -> Request:
    requests = NO_REQUEST
    for request, value in zip(_ALL, vector, strict=True):
        requests |= request if value > 0 else NO_REQUEST
    return requests
