"""Display of results: a repr of a few lines, and a table with a picture in notebooks."""

import base64
import html
import importlib
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

WIDTH, MOST_LINES = 100, 6


class Displayed:
    """Base class of results that show themselves; a dataclass needs `repr=False` beside it.

    Example:
        >>> class Answer(Displayed):
        ...     def _shown(self):
        ...         return "Answer", {"value": 42}
        >>> Answer()
        Answer
          value  42
    """

    def _shown(self) -> tuple[str, Mapping[str, Any] | str]:
        """Returns a title, and rows by name (those that are None or empty are left out) or a table as text."""
        raise NotImplementedError

    def _picture(self) -> Any:
        """Returns a matplotlib figure for notebooks; None for none."""
        return None

    def __repr__(self) -> str:
        title, rows = self._shown()
        if isinstance(rows, str):  # a table, whose columns stay
            lines = rows.splitlines()
            more = [f"... {len(lines) - MOST_LINES + 2} more: table()"] if len(lines) >= MOST_LINES else []
            return "\n".join([title, *(_cut(f"  {line}") for line in [*lines[: MOST_LINES - 1 - len(more)], *more])])
        rows = _texts(rows)
        width = max(map(len, rows), default=0)
        return "\n".join(
            [_cut(title), *(_cut(f"  {name:<{width}}  {text}") for name, text in rows.items())][:MOST_LINES]
        )

    def _repr_html_(self) -> str:
        title, rows = self._shown()
        body = f"<pre>{html.escape(rows)}</pre>" if isinstance(rows, str) else _html_table(_texts(rows))
        figure = self._picture()
        image = "" if figure is None else _image(figure, title)
        return f"<div><b>{html.escape(title)}</b>{body}{image}</div>"


def figures_text(figures: Mapping[str, float]) -> str:
    """Returns figures by name in one line, with four digits.

    Example:
        >>> figures_text({"loss": 0.123456, "accuracy": 0.5})
        'loss 0.1235, accuracy 0.5'
    """
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def names_text(names: Sequence[Any], most: int = 12) -> str:
    """Returns the number of names and the first of them.

    Example:
        >>> names_text(range(100), 3)
        '100: 0, 1, 2, ...'
    """
    listed = ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
    return f"{len(names)}: {listed}" if names else ""


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Returns rows of texts in columns under their heads; columns `left` are aligned left, the others right.

    Example:
        >>> print(text_table(("class", "AP"), [("cat", "0.5"), ("zebra", "0.25")]))
        class    AP
        cat     0.5
        zebra  0.25
    """
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = [
        [
            text.ljust(width) if k in left else text.rjust(width)
            for k, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def picture_of(name: str, *args: Any) -> Any:
    """Returns a figure by the function of that name in `pictures`, which imports matplotlib on first use."""
    return getattr(importlib.import_module(f"{__package__}.pictures"), name)(*args)


def _texts(rows: Mapping[str, Any]) -> dict[str, str]:
    texts = {name: " ".join(f"{value}".split()) for name, value in rows.items() if value is not None}
    return {name: text for name, text in texts.items() if text}


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def _html_table(texts: Mapping[str, str]) -> str:
    cell = '<td style="text-align:left{}">{}</td>'
    pairs = [(cell.format(";color:#6b7280", html.escape(a)), cell.format("", html.escape(b))) for a, b in texts.items()]
    return f"<table>{''.join(f'<tr>{a}{b}</tr>' for a, b in pairs)}</table>"


def _image(figure: Any, title: str) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{html.escape(title)}" style="max-width:640px" src="data:image/png;base64,{data}">'
