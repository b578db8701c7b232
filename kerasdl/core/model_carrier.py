"""Model carriers: objects that hold a model and prepare its data, and functions of a model that take them too."""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

import keras

Settings = ParamSpec("Settings")
Result = TypeVar("Result", covariant=True)
Carrier = TypeVar("Carrier", bound="ModelCarrier")


class ModelCarrier(ABC):
    """Object that holds a model and what belongs to it, such as a bundle with its labels and preprocessing."""

    @abstractmethod
    def changed_by(self, function: Callable[..., Any], arguments: dict[str, Any]) -> "ModelCarrier":
        """Returns a carrier of the model that a function makes of this one's.

        Args:
            function: a function of models.
            arguments: all its arguments by name; carriers stand in the places of models.
        """


class CarrierFunction(Protocol[Settings, Result]):
    """Function that gives what it makes of a model, or a carrier where it is given one."""

    @overload
    def __call__(self, model: Carrier, /, *args: Settings.args, **kwargs: Settings.kwargs) -> Carrier: ...

    @overload
    def __call__(self, model: keras.Model, /, *args: Settings.args, **kwargs: Settings.kwargs) -> Result: ...


def takes_carriers(function: Callable[Concatenate[keras.Model, Settings], Result]) -> CarrierFunction[Settings, Result]:
    """Lets a function of models take a carrier in the place of a model: the carrier then calls the function.

    Example:
        >>> takes_carriers(lambda model: model.name)(model)
        'small'
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        carrier = next((each for each in (*args, *kwargs.values()) if isinstance(each, ModelCarrier)), None)
        if carrier is None:
            return function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return carrier.changed_by(function, dict(bound.arguments))

    return call
