"""Divisions of an integer file that stay in float, with the operations that make their denominators.

An int8 grid rounds a small denominator such as `max(x) + 1e-6` to zero; there an int8 kernel stops the file, and a
float one behind that grid gives NaN.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol


class Operation(Protocol):
    """One operation of a file's graph."""

    name: str
    """Such as "DIV"."""
    inputs: tuple[str, ...]
    """The tensors that it reads."""
    outputs: tuple[str, ...]
    """The tensors that it makes."""


def division_chains(
    operations: Iterable[Operation], divisions: Collection[str], products: Collection[str], guards: Collection[str]
) -> list[Operation]:
    """Returns all divisions by a computed number, and what makes that number.

    Args:
        operations: the operations of a file.
        divisions: the names of those that divide their first input by their second.
        products: those that hold weights: the walk to what makes a denominator ends at them, and one belongs to the
            chain only if nothing between it and the division keeps zeros away.
        guards: those that keep zeros away, as the sum with an epsilon does.
    """
    operations = list(operations)
    makers = {tensor: each for each in operations for tensor in each.outputs}
    found: dict[int, Operation] = {}
    for each in operations:
        if each.name in divisions and len(each.inputs) > 1 and each.inputs[1] in makers:
            chain = [each, *_above(makers, makers[each.inputs[1]], products, guards)]
            found |= {id(operation): operation for operation in chain}
    return list(found.values())


def _above(
    makers: dict[str, Operation], start: Operation, products: Collection[str], guards: Collection[str]
) -> Iterator[Operation]:
    left, seen = [(start, False)], set()
    while left:
        operation, guarded = left.pop()
        if (id(operation), guarded) in seen or (operation.name in products and guarded):
            continue
        seen.add((id(operation), guarded))
        yield operation
        if operation.name not in products:
            guarded = guarded or operation.name in guards
            left += [(makers[tensor], guarded) for tensor in operation.inputs if tensor in makers]
