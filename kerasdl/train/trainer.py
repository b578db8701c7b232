"""Base class of trainers: one or several functional networks under a loss or a training step of their own."""

import functools
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kerasdl.core import checks

Owned = dict[str, tuple[keras.optimizers.Optimizer, list[keras.Variable]]]
Optimizers = str | keras.optimizers.Optimizer | Mapping[str, str | keras.optimizers.Optimizer]
PLAIN = (str, bool, int, float, type(None))


class Trainer(keras.Model):
    """Networks that train together, such as the two of a GAN or encoder and decoder; a thin Keras model around them.

    A subclass names its networks and overrides one of two methods. `compute_loss(x, y, y_pred, sample_weight,
    training)` gives a loss of its own, of what `call` returns, and leaves the update to Keras: one optimizer for all
    weights. `train_step(data)` makes the updates itself, each by `minimize`, and returns figures by name; what it calls
    `loss` or `..._loss` is a loss. `fit` does the rest: checkpoints, resume, averages, parts of batches, mixed
    precision, strategies. `Run.model` is the main network and `Run.trainer` the trainer; what is saved and exported is
    the networks.

    Under a strategy the trainer is made again from what its constructor was given, with models cloned. Losses of
    `keras.losses` are then parts of the mean over all replicas; a mean taken by hand is divided by their number.

    Args:
        networks: functional or Sequential models by role, the main one first.
        name: of the trainer; None takes the main network's.

    Raises:
        ArgumentError: there is no network, or one is not functional or not built, or they live in different scopes.

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
    """Whether a `compute_loss` of its own builds on a loss of the labels, that of `fit` or of its task."""

    gradients_first: ClassVar[bool] = False
    """Whether a `train_step` of several updates computes what they need before it makes the first, on one tape: a batch
    in parts (`accumulation`) needs it, since parts before the last do not see an update."""

    def __new__(cls, *args: Any, **kwargs: Any):
        trainer = super().__new__(cls, *args, **kwargs)
        object.__setattr__(trainer, "_given", (args, kwargs))  # Keras would track the models in it, a teacher too
        return trainer

    def __init__(self, networks: Mapping[str, keras.Model], *, name: str | None = None):
        if not isinstance(networks, Mapping) or not networks:
            checks.refuse("networks must be a mapping from roles to models", networks, "The main one stands first.")
        for role, network in networks.items():
            if not isinstance(network, (functional_model(), keras.Sequential)) or not network.built:
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
        """The main network: what is called, and what `Run.model` is."""
        return next(iter(self.networks.values()))

    @property
    def feeds_main(self) -> bool:
        """Whether inputs of the data go into the main network, and its outputs alone into the loss."""
        return not has_own_train_step(self) and type(self).call is Trainer.call

    @property
    def objective_is_own(self) -> bool:
        """Whether it needs no loss of the labels."""
        return has_own_objective(self) and not self.takes_loss

    @property
    def output_names(self) -> list[str] | None:
        """The names of the main network's outputs, where they are its own."""
        return getattr(self.main, "output_names", None) if self.feeds_main else None

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """The strategy in whose scope the networks live."""
        return self.main.distribute_strategy

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.main(inputs, training=training)

    # Optimizers

    def compile(self, optimizer: Optimizers = "rmsprop", loss: Any = None, **settings: Any) -> None:
        """Compiles as Keras does.

        Args:
            optimizer: one for all weights, or one for each network, by role.
            loss: as in Keras.
            settings: the others of Keras.

        Raises:
            ArgumentError: the roles are not those of the networks.
        """
        several = isinstance(optimizer, Mapping)
        unknown = set(optimizer) - set(self.networks) if several else ()
        if unknown:
            checks.refuse(f"optimizers must be given by the roles {tuple(self.networks)}", sorted(unknown))
        by_role = {role: keras.optimizers.get(each) for role, each in optimizer.items()} if several else {}
        super().compile(None if several else optimizer, loss=loss, **settings)
        self.by_role = MappingProxyType(by_role)  # of a kind that Keras does not track
        self.compiled_with = MappingProxyType({"loss": loss, **settings})

    @property
    def optimizers(self) -> Owned:
        """Each optimizer with the variables it changes, by role; `"all"` where one changes all of them."""
        if not self.compiled:
            return {}
        if self.by_role:
            return {role: (each, self.networks[role].trainable_variables) for role, each in self.by_role.items()}
        return {"all": (self.optimizer, self.trainable_variables)}

    def minimize(self, loss: tf.Tensor, tape: tf.GradientTape, role: str | None = None) -> None:
        """Makes one update of the variables of a role; called once for each role in a step, after the tape's block.

        Args:
            loss: a number that the tape saw.
            tape: what recorded it.
            role: whose variables; None where one optimizer changes all.

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
        """Refuses optimizers that leave trainable variables out, share one, or are more than the update takes.

        Raises:
            ArgumentError: they do.
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
                found = f"in {roles}" if roles else "in none"
                rule = (
                    f"each trainable variable of {type(self).__name__} must be in one of its optimizers {tuple(owned)}"
                )
                checks.refuse(rule, f"{variable.path!r} {found}", hint)
        if len(owned) > 1 and not has_own_train_step(self):
            checks.refuse("several optimizers need a trainer with its own train_step", tuple(owned))

    # What tells it from others, and a second one

    def identity(self) -> dict[str, Any]:
        """Returns plain values that tell a run of it from others: its class, its roles and its plain settings."""
        args, kwargs = self._given
        given = inspect.signature(type(self).__init__).bind(self, *args, **kwargs).arguments
        settings = {name: value for name, value in given.items() if _is_plain(value) and name != "name"}
        return {"class": type(self).__name__, "networks": list(self.networks), **settings}

    def models_given(self) -> list[keras.Model]:
        """Returns the models that the constructor was given, each once, a teacher too that is no network of it."""
        found: dict[int, keras.Model] = {}

        def look(value: Any) -> None:
            if isinstance(value, keras.Model):
                found[id(value)] = value
            elif isinstance(value, (Mapping, list, tuple)):
                for part in value.values() if isinstance(value, Mapping) else value:
                    look(part)

        look(self._given)
        return list(found.values())

    def rebuild_in_scope(self, again: Mapping[int, keras.Model]) -> "Trainer":
        """Returns a second trainer from what the constructor was given, in the scope that the caller is in.

        Args:
            again: by the id of each model in `models_given`, the one that takes its place.

        Raises:
            ArgumentError: something else that it was given holds variables, which both would share.
        """

        def renewed(value: Any) -> Any:
            if isinstance(value, keras.Model):
                return again[id(value)]
            if isinstance(value, Mapping):
                return {key: renewed(part) for key, part in value.items()}
            return type(value)(map(renewed, value)) if type(value) in (list, tuple) else value

        args, kwargs = self._given
        twin = type(self)(*renewed(args), **renewed(kwargs))
        shared = {id(variable) for variable in self.variables} & {id(variable) for variable in twin.variables}
        if shared:
            hint = "Make its layers inside the constructor, or the trainer inside `with strategy.scope():`."
            checks.refuse("a trainer made again must share no variable", f"{len(shared)} of {twin.name}", hint)
        return twin

    def compile_like(self, other: "Trainer") -> None:
        """Compiles it with fresh objects of what another is compiled with.

        Raises:
            ArgumentError: the class has a `compile` of its own.
        """
        if type(self).compile is not Trainer.compile:
            hint = "Give its losses to the constructor, or make it inside `with strategy.scope():`."
            checks.refuse("a trainer that moves into a scope must leave compile as it is", type(self).__name__, hint)
        optimizer = {role: _fresh(each) for role, each in other.by_role.items()} or _fresh(other.optimizer)
        self.compile(optimizer, **keras.tree.map_structure(_fresh, dict(other.compiled_with)))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Refuses: what is saved is the networks.

        Raises:
            ArgumentError: always.
        """
        hint = f"Save trainer.networks[{next(iter(self.networks))!r}]."
        checks.refuse("a trainer is not saved, its networks are", type(self).__name__, hint)


def has_own_train_step(model: keras.Model) -> bool:
    """Returns whether the class of a model overrides `train_step`."""
    return type(model).train_step is not keras.Model.train_step


def has_own_objective(model: keras.Model) -> bool:
    """Returns whether the class of a model has a `train_step` or a `compute_loss` of its own."""
    return has_own_train_step(model) or type(model).compute_loss is not keras.Model.compute_loss


def has_call(model: keras.Model) -> bool:
    """Returns whether a model can be called on inputs; those of Keras's guides to GANs and VAEs cannot."""
    return type(model).call is not keras.Model.call


def owned_by_optimizers(model: keras.Model) -> Owned:
    """Returns the optimizers that a model holds, by role or attribute, each with variables it may change."""
    if isinstance(model, Trainer):
        return model.optimizers
    held = {name: each for name, each in vars(model).items() if isinstance(each, keras.optimizers.Optimizer)}
    return {name: (each, model.trainable_variables) for name, each in held.items()}


@functools.cache
def functional_model() -> type:
    """Returns the class of functional models, for which Keras has no public name."""
    tensor = keras.Input((1,))
    return type(keras.Model(tensor, tensor))


def _is_plain(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    return isinstance(value, PLAIN) if parts is None else all(map(_is_plain, parts))


def _fresh(value: Any) -> Any:
    kinds = (keras.optimizers.Optimizer, keras.losses.Loss, keras.metrics.Metric)
    return type(value).from_config(value.get_config()) if isinstance(value, kinds) else value
