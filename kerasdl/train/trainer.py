"""Base class of trainers: one or several functional networks with their own loss or training step."""

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kerasdl.core import checks

Owned = dict[str, tuple[keras.optimizers.Optimizer, list[keras.Variable]]]
Optimizers = str | keras.optimizers.Optimizer | Mapping[str, str | keras.optimizers.Optimizer]
PLAIN = (str, bool, int, float, type(None))


REUSED = "_reused_trainer"
VALIDATION_SEED = (0, 0)
"""Seed of the noise of validation, which stays from epoch to epoch."""
REPLICA_STRIDE = 1_000_003
"""Distance of the seeds of two replicas; steps count the other number of a seed."""


class Trainer(keras.Model):
    """Thin Keras model around networks that train together, such as the two of a GAN, or encoder and decoder.

    A subclass names its networks and overrides one of two methods. `compute_loss(x, y, y_pred, sample_weight,
    training)` returns a loss of the outputs of `call`, with what layers add to it (`own_losses`), and leaves the update
    to Keras, with one optimizer for all weights. `train_step(data)` makes the updates itself, each by `minimize`, and
    returns figures by name; those named `loss` or `..._loss` are losses. `fit` adds checkpoints, resume, averages,
    accumulation, mixed precision and strategies. `Run.model` is the main network and `Run.trainer` the trainer; the
    networks are saved and exported.

    Under a strategy the trainer is built again from its constructor arguments, with cloned models. Losses of
    `keras.losses` are then parts of the mean over all replicas; a mean of your own must be divided by their number.

    Args:
        networks: functional or Sequential models by role, the main one first.
        name: name of the trainer; None takes that of the main network.

    Raises:
        ArgumentError: there is no network, one is not functional or not built, or their scopes differ.

    Example:
        >>> class Pair(Trainer):
        ...     def train_step(self, data):
        ...         with tf.GradientTape() as tape:
        ...             loss = self.compute_loss(*data, self(data[0], training=True))
        ...         self.minimize(loss, tape)
        ...         return {"loss": loss}
        >>> trainer = Pair({"net": model})
        >>> trainer.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> fit(trainer, (x, y), config=RunConfig(epochs=1, progress="off")).model is model
        True
    """

    takes_loss: ClassVar[bool] = False
    """True if its `compute_loss` uses a loss of the labels, from `fit` or the task."""

    gradients_first: ClassVar[bool] = False
    """True if a `train_step` with several updates computes all gradients on one tape before the first update.
    `accumulation` needs this, since only the last micro-batch makes updates."""

    takes_stand_ins: ClassVar[bool] = False
    """True if a rounding copy can stand in for its main network, of which it needs outputs, shapes and names alone."""

    def __new__(cls, *args: Any, **kwargs: Any):
        trainer = super().__new__(cls, *args, **kwargs)
        object.__setattr__(
            trainer, "_constructor_arguments", (args, kwargs)
        )  # not an ordinary attribute: Keras would track models in it, such as a teacher
        return trainer

    def __init__(self, networks: Mapping[str, keras.Model], *, name: str | None = None):
        if not isinstance(networks, Mapping) or not networks:
            checks.refuse("networks must be a mapping from roles to models", networks, "The main one comes first.")
        for role, network in networks.items():
            stands_in = self.takes_stand_ins and hasattr(network, "built_again")
            is_graph = stands_in or isinstance(network, (functional_model(), keras.Sequential))
            if not is_graph or not network.built:
                hint = "Build it from keras.Input; a subclassed model cannot be exported layer by layer."
                rule = f"network {role!r} of {type(self).__name__} must be functional or Sequential, and built"
                checks.refuse(rule, type(network).__name__, hint)
        if len({id(network.distribute_strategy) for network in networks.values()}) > 1:
            checks.refuse("the networks of a trainer must live in the scope of one strategy", list(networks))
        super().__init__(name=name or next(iter(networks.values())).name)
        self.networks = dict(networks)
        self.built = True

    @property
    def main(self) -> keras.Model:
        """The main network, which `call` and `Run.model` use."""
        return next(iter(self.networks.values()))

    @property
    def feeds_main(self) -> bool:
        """True if the main network takes the inputs of the data, and the loss only its outputs."""
        return not has_own_train_step(self) and type(self).call is Trainer.call

    @property
    def objective_is_own(self) -> bool:
        """True if it computes its loss without a loss of the labels."""
        return has_own_objective(self) and not self.takes_loss

    @property
    def output_names(self) -> list[str] | None:
        """The output names of the main network; None where its outputs are not those of the trainer."""
        return getattr(self.main, "output_names", None) if self.feeds_main else None

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """The strategy in whose scope the networks were built."""
        return self.main.distribute_strategy

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.main(inputs, training=training)

    # Optimizers

    def compile(self, optimizer: Optimizers = "rmsprop", loss: Any = None, **settings: Any) -> None:
        """Compiles the trainer like a Keras model.

        Args:
            optimizer: one for all weights, or one for each network by role.
            loss: as in Keras.
            settings: other arguments of Keras.

        Raises:
            ArgumentError: the roles are not those of the networks.
        """
        several = isinstance(optimizer, Mapping)
        unknown = set(optimizer) - set(self.networks) if several else ()
        if unknown:
            checks.refuse(f"optimizers must be given by the roles {tuple(self.networks)}", sorted(unknown))
        by_role = {role: keras.optimizers.get(each) for role, each in optimizer.items()} if several else {}
        super().compile(None if several else optimizer, loss=loss, **settings)
        self.by_role = MappingProxyType(by_role)  # a type that Keras does not track
        self.compiled_with = MappingProxyType({"loss": loss, **settings})

    @property
    def optimizers(self) -> Owned:
        """Each optimizer with its variables, by role; the role is `"all"` where one optimizer changes all variables."""
        if not self.compiled:
            return {}
        if self.by_role:
            return {role: (each, self.networks[role].trainable_variables) for role, each in self.by_role.items()}
        return {"all": (self.optimizer, self.trainable_variables)}

    def minimize(self, loss: tf.Tensor, tape: tf.GradientTape, role: str | None = None) -> None:
        """Makes one update of the variables of a role; called once for each role in a step, after the tape's block.

        Args:
            loss: a scalar recorded by the tape.
            tape: the tape that recorded the loss.
            role: role of the variables; None where one optimizer changes all.

        Raises:
            ArgumentError: there is no optimizer of that role.
        """
        optimizers = self.optimizers
        known, role = tuple(optimizers), role or ("all" if "all" in optimizers else None)
        if role not in known:
            hint = f"Compile it so: trainer.compile({{{', '.join(f'{each!r}: ...' for each in self.networks)}}})."
            checks.refuse(f"role must be one of {known}, whose optimizers {type(self).__name__} has", role, hint)
        optimizer, variables = optimizers[role]
        scale = optimizer.scale_loss(tf.ones_like(loss))
        optimizer.apply(tape.gradient(loss, variables, output_gradients=scale), variables)

    def check_optimizers(self) -> None:
        """Refuses optimizers that miss a trainable variable, share one, or are too many for the update of Keras.

        Raises:
            ArgumentError: the optimizers do not fit.
        """
        owned = self.optimizers
        owners: dict[int, list[str]] = {}
        for role, (_, variables) in owned.items():
            for variable in variables:
                owners.setdefault(id(variable), []).append(role)
        hint = "Name each network in compile, set trainable = False, or give all one optimizer."
        for variable in self.trainable_variables:
            roles = owners.get(id(variable), [])
            if len(roles) != 1:
                place = f"in {roles}" if roles else "in none"
                rule = (
                    f"each trainable variable of {type(self).__name__} must be in one of its optimizers {tuple(owned)}"
                )
                checks.refuse(rule, f"{variable.path!r} {place}", hint)
        if len(owned) > 1 and not has_own_train_step(self):
            checks.refuse("several optimizers need a trainer with its own train_step", tuple(owned))

    def check_data(self, data: Any) -> None:
        """Refuses data that the trainer would read otherwise than they are meant; here nothing.

        Args:
            data: a `Dataset` to train or to validate on.
        """

    # Identity, and copies in another scope

    def identity(self) -> dict[str, Any]:
        """Returns plain values that distinguish its runs from others: class, roles and plain constructor arguments."""
        args, kwargs = self._constructor_arguments
        arguments = inspect.signature(type(self).__init__).bind(self, *args, **kwargs).arguments
        settings = {name: value for name, value in arguments.items() if _is_plain(value) and name != "name"}
        own = {role: each.run_identity() for role, each in self.networks.items() if hasattr(each, "run_identity")}
        return {"class": type(self).__name__, "networks": list(self.networks), **settings, **own}

    def constructor_models(self) -> list[keras.Model]:
        """Returns the models among the constructor arguments, each once, such as a teacher that is not a network."""
        models: dict[int, keras.Model] = {}

        def collect(value: Any) -> None:
            if isinstance(value, keras.Model):
                models[id(value)] = value
            elif isinstance(value, (Mapping, list, tuple)):
                for part in value.values() if isinstance(value, Mapping) else value:
                    collect(part)

        collect(self._constructor_arguments)
        return list(models.values())

    def rebuild_in_scope(self, copies: Mapping[int, keras.Model]) -> "Trainer":
        """Returns a copy of the trainer from its constructor arguments, in the current scope.

        Args:
            copies: by the id of each model in `constructor_models`, its copy.

        Raises:
            ArgumentError: another constructor argument holds variables, which both would share.
        """

        def copied(value: Any) -> Any:
            if isinstance(value, keras.Model):
                return copies[id(value)]
            if isinstance(value, Mapping):
                return {key: copied(part) for key, part in value.items()}
            return type(value)(map(copied, value)) if type(value) in (list, tuple) else value

        args, kwargs = self._constructor_arguments
        copy = type(self)(*copied(args), **copied(kwargs))
        shared = {id(variable) for variable in self.variables} & {id(variable) for variable in copy.variables}
        if shared:
            hint = "Make its layers inside the constructor, or the trainer inside `with strategy.scope():`."
            checks.refuse("a trainer made again must share no variable", f"{len(shared)} of {copy.name}", hint)
        return copy

    def compile_like(self, other: "Trainer") -> None:
        """Compiles the trainer with new copies of the optimizers, losses and metrics of another.

        Raises:
            ArgumentError: the class overrides `compile`.
        """
        if type(self).compile is not Trainer.compile:
            hint = "Give its losses to the constructor, or make it inside `with strategy.scope():`."
            checks.refuse("a trainer that moves into a scope must leave compile as it is", type(self).__name__, hint)
        optimizer = {role: _fresh(each) for role, each in other.by_role.items()} or _fresh(other.optimizer)
        self.compile(optimizer, **keras.tree.map_structure(_fresh, dict(other.compiled_with)))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Refuses to save the trainer; save its networks instead.

        Raises:
            ArgumentError: always.
        """
        hint = f"Save trainer.networks[{next(iter(self.networks))!r}]."
        checks.refuse("a trainer cannot be saved, but its networks can", type(self).__name__, hint)


def reused_trainer(make: Callable[[Mapping[str, keras.Model]], Any], networks: Mapping[str, keras.Model]) -> Any:
    """Returns the trainer that `make` makes of networks by role, the same one for each question, with what it compiled.

    It stands beside the network `model`, and is made anew where another network plays a role.
    """
    main = networks["model"]
    maker, trainer = getattr(main, REUSED, (None, None))
    if maker is not make or trainer.networks != dict(networks):
        trainer = make(networks)
        object.__setattr__(main, REUSED, (make, trainer))  # no attribute of Keras, which would make it a part of `main`
    return trainer


def own_losses(model: keras.Model) -> Any:
    """Returns this replica's part of what layers add to the loss, such as a kernel's regularizer."""
    return sum(model.losses) / tf.distribute.get_strategy().num_replicas_in_sync


def step_seed(seeds: keras.random.SeedGenerator, training: bool | None) -> tf.Tensor:
    """Returns the int32 (2,) seed of the noise of a step: new in each step of training, and another on each replica."""
    seed = tf.cast(seeds.next(), tf.int32) if training else tf.constant(VALIDATION_SEED)
    replica = tf.distribute.get_replica_context()
    return seed if replica is None else seed + tf.stack([REPLICA_STRIDE * replica.replica_id_in_sync_group, 0])


def has_own_train_step(model: keras.Model) -> bool:
    """Returns whether the class of a model overrides `train_step`."""
    return type(model).train_step is not keras.Model.train_step


def has_own_objective(model: keras.Model) -> bool:
    """Returns whether the class of a model overrides `train_step` or `compute_loss`."""
    return has_own_train_step(model) or type(model).compute_loss is not keras.Model.compute_loss


def has_call(model: keras.Model) -> bool:
    """Returns whether a model can be called on inputs; the GAN and VAE of Keras's guides cannot."""
    return type(model).call is not keras.Model.call


def owned_by_optimizers(model: keras.Model) -> Owned:
    """Returns the optimizers of a model by role or attribute, each with the variables that it may change."""
    if isinstance(model, Trainer):
        return model.optimizers
    held = {name: each for name, each in vars(model).items() if isinstance(each, keras.optimizers.Optimizer)}
    return {name: (each, model.trainable_variables) for name, each in held.items()}


@functools.cache
def functional_model() -> type:
    """Returns the class of functional models, which has no public name in Keras."""
    tensor = keras.Input((1,))
    return type(keras.Model(tensor, tensor))


def _is_plain(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    return isinstance(value, PLAIN) if parts is None else all(map(_is_plain, parts))


def _fresh(value: Any) -> Any:
    kinds = (keras.optimizers.Optimizer, keras.losses.Loss, keras.metrics.Metric)
    return type(value).from_config(value.get_config()) if isinstance(value, kinds) else value
