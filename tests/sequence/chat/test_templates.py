"""Templates of chats: the plain one by hand, Jinja's with what transformers expects, and what both refuse."""

import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.sequence import ChatTemplate, JinjaTemplate
from kerasdl.sequence.chat.templates import template_of

TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello {text}"},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "Why?"},
]
CHATML = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "{%- endif %}\n"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]"
    "['content'] %}{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns') }}{% endif %}{% if loop.index0 == 0 and system != false %}"
    "{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}"
    "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def test_pieces_stand_behind_each_other():
    text = "Be short.\n\nUser: Hello {text}\nAssistant: Good day.\nUser: Why?\nAssistant:"
    assert ChatTemplate().render(TALK) == text
    own = ChatTemplate(user="<u>{text}", assistant="<a>{text}", reply="<a>", stop=["<u>"])
    assert own.render(TALK[1:2]) == "<u>Hello {text}<a>"
    assert template_of(own.to_settings()) == own
    assert template_of(None) == ChatTemplate()


def test_templates_of_jinja_are_rendered_as_transformers_does():
    text = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in TALK)
    assert JinjaTemplate(CHATML).render(TALK) == text + "<|im_start|>assistant\n"
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    expected = "<s>[INST] <<SYS>>\nBe short.\n<</SYS>>\n\nHello {text} [/INST] Good day. </s><s>[INST] Why? [/INST]"
    assert template_of(LLAMA2, names).render(TALK) == expected
    own = template_of({"jinja": CHATML, "stop": ["<|im_end|>"]})
    assert own.stop == ("<|im_end|>",)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ raise_exception('no system message') }}",
        "{{ 1 / 0 }}",
        "{{ missing.part.of }}",
        "{% for i in range(10**9) %}{{ i }}{% endfor %}",
        "{% for i in range(90000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_what_a_template_may_not_do_is_refused(source):
    with pytest.raises(ArgumentError, match="a template must render the messages"):
        JinjaTemplate(source).render(TALK)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: JinjaTemplate("{% for %}"), "must be one of Jinja"),
        (lambda: JinjaTemplate("x" * 70_000), "65536 characters at most"),
        (lambda: JinjaTemplate("x", stop="ab"), "stop of a template must be a list"),
        (lambda: ChatTemplate(user="User:"), "user of a template must be a text with one {text}"),
        (lambda: ChatTemplate(stop="ab"), "stop of a template must be a list"),
        (lambda: ChatTemplate(reply=3), "reply of a template must be a text"),
        (lambda: template_of({"other": 1}), "or fields of"),
        (lambda: template_of(3), "or fields of"),
    ],
)
def test_templates_of_another_form_are_refused(make, rule):
    with pytest.raises(ArgumentError, match=rule):
        make()


@pytest.mark.parametrize(
    ("messages", "rule"),
    [
        ("Hello", "messages must be mappings"),
        ([{"role": "user"}], "messages must be mappings"),
        ([{"role": "user", "content": 3}], "messages must be mappings"),
        ([{"role": "tool", "content": "x"}], "role must be one of"),
        ([], "in turns"),
        (TALK[:1], "in turns"),
        (TALK[2:], "in turns"),
        ([TALK[1], TALK[1]], "in turns"),
        ([TALK[1], TALK[2], TALK[0]], "in turns"),
    ],
)
def test_messages_of_another_form_are_refused(messages, rule):
    for template in (ChatTemplate(), JinjaTemplate(CHATML)):
        with pytest.raises(ArgumentError, match=rule):
            template.render(messages)
