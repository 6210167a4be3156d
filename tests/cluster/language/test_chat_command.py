"""``penstock generate`` and ``penstock chat`` on a cluster: the answers of one process."""

import json
import subprocess
import sys

from support.processes.commands import invoke

ENDLESS = ("-O", "ignore_end=true", "--max-tokens", "20")


def expected(local, text):
    return local.answer(text, special=False, max_tokens=20)[1]


def test_prompts_are_answered_through_the_chat_template(language_cluster, local):
    arguments = ("generate", "--url", language_cluster.url, "--model", "tiny", *ENDLESS)
    one = invoke(*arguments, "hello")
    several = invoke(*arguments, "hello", "a", "--json")
    raw = invoke(*arguments, "hello", "--raw")

    text = expected(local, "<|user|>hello<|end|><|assistant|>")
    assert one.stdout == text + "\n"
    answers = [json.loads(line) for line in several.stdout.splitlines()]
    assert [answer["text"] for answer in answers] == [
        text,
        expected(local, "<|user|>a<|end|><|assistant|>"),
    ]
    assert [answer["finish"] for answer in answers] == ["length"] * 2
    assert answers[0]["prompt_tokens"] == 4
    assert raw.stdout == expected(local, "hello") + "\n"


def test_what_cannot_be_is_said_in_one_line(language_cluster):
    arguments = ("generate", "--url", language_cluster.url, "x")

    assert "say either --model NAME or --local DIR" in invoke(*arguments).stderr
    assert "'none'" in invoke(*arguments, "--model", "none").stderr


def test_a_conversation_goes_on_from_what_was_said(language_cluster, local):
    command = (sys.executable, "-m", "penstock", "chat", "tiny", "--url", language_cluster.url)
    talk = subprocess.run(
        [*command, *ENDLESS, "--system", "be kind"],
        input="hello\n\na\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    before = "<|system|>be kind<|end|><|user|>hello<|end|><|assistant|>"
    first = expected(local, before)
    # The template puts what was answered back as it was.
    before = before.removesuffix("<|assistant|>") + f"<|assistant|>{first}<|end|>"
    second = expected(local, f"{before}<|user|>a<|end|><|assistant|>")
    assert talk.stdout == f"{first}\n{second}\n"
    assert talk.stderr == ""
