import os

import pytest
from support.models import tiny_language

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.language.chat import ChatTemplate
from penstock.language.tokenizer import Tokenizer

DOUBLING = (
    "{% set n = namespace(t='x' * 4096) %}{% for a in range(30) %}{% set n.t = n.t ~ n.t %}"
    "{% endfor %}{{ n.t | length }}"
)
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def template():
    """Makes templates whose processes end with the test."""
    made = []

    def make(source, limit_s=2.0):
        made.append(ChatTemplate(source, limit_s=limit_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_messages_become_the_text_that_asks_for_an_answer(template):
    text = template(tiny_language.CHAT).render([{"role": "user", "content": "Größe 大 <b>"}])

    assert text == "<|user|>Größe 大 <b><|end|><|assistant|>"


def test_templates_have_what_those_in_use_need(template):
    source = (
        "{%- for m in messages %}\n    {%- if loop.index > 1 %}{% break %}{% endif %}\n"
        "{{- m | tojson }}{{ strftime_now('%Y')[:2] }}{{ bos_token }}\n{% endfor %}"
    )

    text = template(source).render(HELLO * 2, bos_token="<s>")  # noqa: S106

    assert text == '{"role": "user", "content": "hello"}20<s>\n'


def test_what_a_template_refuses_is_said(template):
    refusing = template("{{ raise_exception('roles must alternate') }}")

    with pytest.raises(InvalidRequest, match="roles must alternate"):
        refusing.render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
    ids=["loops", "recursion"],
)
def test_a_template_that_takes_long_is_stopped_and_the_next_is_rendered(source, template):
    endless = template(source + "{{ messages[0].content }}", limit_s=0.3)

    for _ in range(2):
        with pytest.raises(InvalidRequest, match=r"takes longer than 0\.3 s"):
            endless.render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10 ** 10 }}",
        "{{ 'x'.ljust(10 ** 10) }}",
        "{{ '%9999999999d' % 1 }}",
        DOUBLING,
        "{% for a in range(99999) %}{{ 'fifty characters or so, again and again and again' }}{% endfor %}",  # noqa: E501
        "{{ 9 ** 99999999 }}",
    ],
    ids=["times", "padding", "format", "doubling", "output", "power"],
)
def test_a_template_that_grows_without_end_is_stopped(source, template):
    with pytest.raises(InvalidRequest, match="chat template"):
        template(source).render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% set x = messages.append(1) %}",
        "{% include '/etc/passwd' %}",
        "{% for %}",
    ],
)
def test_a_template_gets_at_nothing_but_what_it_is_given(source, template):
    refusing = template(source)
    with pytest.raises(InvalidRequest, match="refuses"):
        refusing.render(HELLO)


def test_a_process_that_is_gone_is_started_anew(template):
    one = template(tiny_language.CHAT)
    first = one.render(HELLO)
    os.kill(one._process._process.pid, 9)
    one._process._process.wait()

    assert one.render(HELLO) == first


def test_a_version_without_a_template_has_none(tmp_path):
    assert ChatTemplate.read(tmp_path) is None


def test_a_tokenizer_that_is_none_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Nothing"}}')

    with pytest.raises(ArtifactUnusable, match=r"tokenizer\.json cannot be read"):
        Tokenizer.read(tmp_path)


def test_a_text_that_is_too_long_to_be_looked_at_is_refused():
    tokenizer = Tokenizer.from_json(tiny_language.tokenizer()[0].to_str().encode())

    with pytest.raises(InvalidRequest, match="at most 4194304 can be tokenized"):
        tokenizer.encode("x" * ((4 << 20) + 1), special=False)
