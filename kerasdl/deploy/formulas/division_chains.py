"""Division chains of an integer file that stay in float: divisions with the operations that make their denominators.

An int8 grid rounds a small denominator such as `max(x) + 1e-6` to zero; an int8 division by zero stops the file,
and a float division after that grid gives NaN.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol


class Operation(Protocol):
    """One operation of a file's graph."""

    name: str
    """The name of its kind, such as "DIV"."""
    inputs: tuple[str, ...]
    """The tensors that it reads."""
    outputs: tuple[str, ...]
    """The tensors that it makes."""


def division_chains(
    operations: Iterable[Operation], divisions: Collection[str], products: Collection[str], guards: Collection[str]
) -> list[Operation]:
    """Returns all divisions by a computed number, and the operations that compute that number.

    Args:
        operations: the operations of a file.
        divisions: the names of those that divide their first input by their second.
        products: the names of those with weights, at which a chain ends; a product itself belongs to the chain only if
            no guard stands between it and the division.
        guards: the names of those that keep zeros away, such as the sum with an epsilon.
    """
    operations = list(operations)
    makers = {tensor: each for each in operations for tensor in each.outputs}
    chains: dict[int, Operation] = {}
    for each in operations:
        if each.name in divisions and len(each.inputs) > 1 and each.inputs[1] in makers:
            chain = [each, *_above(makers, makers[each.inputs[1]], products, guards)]
            chains |= {id(operation): operation for operation in chain}
    return list(chains.values())


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
