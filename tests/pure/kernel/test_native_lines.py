"""What libraries write to the descriptor of standard error, line by line."""

import os

from penstock.process.native_lines import NativeLines


def test_lines_go_to_whoever_takes_them_and_the_others_on(capfd):
    taken = []

    def take(line):
        if line.startswith(b"mine"):
            taken.append(line)
        return line.startswith(b"mine")

    lines = NativeLines(take)
    stream = lines.begin()
    os.write(2, b"mine 1\nnobody's\nmine")
    os.write(2, b" 2\nthe end")
    stream.write("Python's own\n")
    stream.close()
    lines.end()
    os.write(2, b"afterwards\n")

    assert taken == [b"mine 1", b"mine 2"]
    assert sorted(capfd.readouterr().err.splitlines()) == [
        "Python's own",
        "afterwards",
        "nobody's",
        "the end",
    ]


def test_a_line_without_an_end_is_not_waited_for(capfd):
    lines = NativeLines(lambda _: False)
    lines.begin().close()

    for _ in range(300):
        os.write(2, b"x" * 1000)
    lines.end()

    assert capfd.readouterr().err.replace("\n", "") == "x" * 300_000


def test_it_may_end_before_it_began():
    NativeLines(lambda _: False).end()
