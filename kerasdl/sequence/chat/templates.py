"""Templates of chats: from messages with roles to the text that a language model goes on with.

A plain template is four pieces of text. One of Jinja has the form that transformers keeps as `chat_template`; it is
rendered in Jinja's sandbox, without access to Python, to files or to what changes its arguments.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from kerasdl.core import checks
from kerasdl.core.errors import DataError, first_line
from kerasdl.core.startup.packages import optional

ROLES = ("system", "user", "assistant")
TEXT = "{text}"
MAX_SOURCE, MAX_RENDERED = 2**16, 2**22
"""Characters of a template of Jinja, and of what it may render."""


@dataclass(frozen=True)
class ChatTemplate:
    """Plain template of a chat: how each role's message is written, and what begins a reply.

    Example:
        >>> ChatTemplate().render([{"role": "user", "content": "Hello"}])
        'User: Hello\\nAssistant:'
    """

    system: str = "{text}\n\n"
    """Message of the system, which stands first; `{text}` is its content."""
    user: str = "User: {text}\n"
    """Message of the user."""
    assistant: str = "Assistant: {text}\n"
    """Reply of the model."""
    reply: str = "Assistant:"
    """Text behind the last message, which the model goes on with."""
    stop: tuple[str, ...] = ("\nUser:", "\nAssistant:")
    """Texts that end a reply and are no part of it."""

    def __post_init__(self):
        for role in ROLES:
            value = getattr(self, role)
            if not isinstance(value, str) or value.count(TEXT) != 1:
                checks.refuse(f"{role} of a template must be a text with one {TEXT}", value)
        if not isinstance(self.reply, str):
            checks.refuse("reply of a template must be a text", self.reply)
        if isinstance(self.stop, str) or not all(isinstance(each, str) and each for each in self.stop):
            checks.refuse("stop of a template must be a list of texts", self.stop, "Give one text as [text].")
        object.__setattr__(self, "stop", tuple(self.stop))

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Returns the text of messages and the beginning of a reply.

        Args:
            messages: mappings of `role` (`system`, first alone, `user` or `assistant`) and `content`.

        Raises:
            ArgumentError: messages are of another form.
        """
        parts = [getattr(self, each["role"]).replace(TEXT, each["content"]) for each in checked_messages(messages)]
        return "".join(parts) + self.reply

    def to_settings(self) -> dict[str, Any]:
        """Returns the fields as plain values, the content of a bundle's `chat_template`."""
        return {**asdict(self), "stop": list(self.stop)}


class JinjaTemplate:
    """Template of a chat in Jinja, as transformers keeps it in `chat_template`; needs the package jinja2.

    It reads `messages`, `add_generation_prompt`, which is true, and the names of the special tokens, and may call
    `raise_exception(text)`. It is rendered in Jinja's sandbox. A loop without end is not stopped there: take templates
    of strangers as you would take their programs.

    Args:
        source: the template.
        stop: texts that end a reply and are no part of it; special tokens that end one are known to the tokenizer.
        names: special tokens by name, such as `{"bos_token": "<s>"}`.

    Raises:
        ArgumentError: the source is too long, or no template of Jinja.
        MissingPackageError: jinja2 is not installed.

    Example:
        >>> source = "{% for each in messages %}[{{ each.role }}] {{ each.content }}\\n{% endfor %}[assistant]"
        >>> JinjaTemplate(source).render([{"role": "user", "content": "Hello"}])
        '[user] Hello\\n[assistant]'
    """

    def __init__(self, source: str, *, stop: Sequence[str] = (), names: Mapping[str, str] | None = None):
        if not isinstance(source, str) or len(source) > MAX_SOURCE:
            checks.refuse(f"a template must be a text of {MAX_SOURCE} characters at most", type(source).__name__)
        if isinstance(stop, str) or not all(isinstance(each, str) and each for each in stop):
            checks.refuse("stop of a template must be a list of texts", stop, "Give one text as [text].")
        self.source, self.stop, self.names = source, tuple(stop), dict(names or {})
        jinja, sandbox = optional("jinja2", "chat"), optional("jinja2.sandbox", "chat")
        loops = ["jinja2.ext.loopcontrols"]
        environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=loops)
        environment.globals["raise_exception"] = _raise_exception
        environment.filters["tojson"] = _as_json
        self._error = jinja.TemplateError
        try:
            self._template = environment.from_string(source)
        except (self._error, RecursionError) as error:
            checks.refuse("a template must be one of Jinja", first_line(error))

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Returns the text of messages and the beginning of a reply.

        Args:
            messages: as in `ChatTemplate`.

        Raises:
            ArgumentError: messages are of another form, or the template refuses them or has an error.
        """
        rows, parts, size = [dict(each) for each in checked_messages(messages)], [], 0
        values = {**self.names, "messages": rows, "add_generation_prompt": True, "tools": None}
        try:
            for part in self._template.generate(**values):
                parts.append(part)
                size += len(part)
                if size > MAX_RENDERED:
                    raise self._error(f"more than {MAX_RENDERED} characters")
        except (self._error, DataError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            checks.refuse("a template must render the messages", first_line(error))
        except OverflowError as error:  # range() of the sandbox
            checks.refuse("a template must render the messages", first_line(error))
        return "".join(parts)


def _raise_exception(message: str) -> NoReturn:
    raise DataError(str(message))


def _as_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def checked_messages(messages: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
    """Returns messages if they have roles in order: perhaps the system first, then user and assistant in turns.

    Raises:
        ArgumentError: they have not.
    """
    rule = "messages must be mappings of role and content"
    if isinstance(messages, (str, Mapping)) or not all(isinstance(each, Mapping) for each in messages):
        checks.refuse(rule, type(messages).__name__, 'Such as [{"role": "user", "content": "Hello"}].')
    for each in messages:
        if {*each} != {"role", "content"} or not all(isinstance(value, str) for value in each.values()):
            checks.refuse(rule, sorted(each), 'Such as [{"role": "user", "content": "Hello"}].')
        checks.one_of("role", each["role"], ROLES)
    roles = [each["role"] for each in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != [("user", "assistant")[number % 2] for number in range(len(turns))]:
        checks.refuse("roles must be user and assistant in turns, behind the system's where there is one", roles)
    return messages


def template_of(settings: Any, names: Mapping[str, str] | None = None) -> ChatTemplate | JinjaTemplate:
    """Returns the template of a bundle's `chat_template`.

    Args:
        settings: None for the plain one; its fields; or a source of Jinja, alone or as `{"jinja": source,
            "stop": [...]}`.
        names: special tokens by name, which a template of Jinja reads.

    Raises:
        ArgumentError: it is of another form.
    """
    if settings is None:
        return ChatTemplate()
    if isinstance(settings, (ChatTemplate, JinjaTemplate)):
        return settings
    if isinstance(settings, str):
        return JinjaTemplate(settings, names=names)
    if isinstance(settings, Mapping) and "jinja" in settings and {*settings} <= {"jinja", "stop"}:
        return JinjaTemplate(settings["jinja"], stop=settings.get("stop", ()), names=names)
    if not isinstance(settings, Mapping) or not {*settings} <= {*ChatTemplate.__dataclass_fields__}:
        known = tuple(ChatTemplate.__dataclass_fields__)
        got = sorted(settings) if isinstance(settings, Mapping) else type(settings).__name__
        checks.refuse(f"a template must be a source of Jinja, or fields of {known}", got)
    return ChatTemplate(**settings)
