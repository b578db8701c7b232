"""Graphs of computations as text and as a picture."""

from .tensors import Tensor, ordered


def graph_lines(output: Tensor) -> list[str]:
    """Returns a line for each tensor of a graph: its number, operation, shape and the numbers of its parents.

    Example:
        >>> print(*graph_lines(Tensor(2.0) * Tensor(3.0) + 1.0), sep="\\n")
        0 leaf ()
        1 leaf ()
        2 leaf ()
        3 multiply () of 2, 1
        4 add () of 3, 0
    """
    numbers, lines = {}, []
    for tensor in ordered(output):
        numbers[id(tensor)] = len(numbers)
        parents = ", ".join(str(numbers[id(each)]) for each in tensor.parents)
        ending = f" of {parents}" if parents else ""
        lines.append(f"{numbers[id(tensor)]} {tensor.name or 'leaf'} {tensor.shape}{ending}")
    return lines


def graphviz(output: Tensor) -> str:
    """Returns a graph in the language of Graphviz, which `dot -Tpng` draws.

    Example:
        >>> graphviz(Tensor(2.0) + 1.0).splitlines()[0]
        'digraph {'
    """
    order = ordered(output)
    numbers = {id(each): place for place, each in enumerate(order)}
    lines = [f'  n{numbers[id(each)]} [label="{each.name or "leaf"} {each.shape}"];' for each in order]
    lines += [f"  n{numbers[id(parent)]} -> n{numbers[id(each)]};" for each in order for parent in each.parents]
    return "\n".join(["digraph {", *lines, "}"])
