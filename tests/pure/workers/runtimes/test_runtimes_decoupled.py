"""Decoupled Python models yield their responses one by one."""

import numpy as np
import pytest
from support.models.python_models import DECOUPLED, DOUBLE

from penstock.workers.runtimes.python.results import WrongResult

pytestmark = pytest.mark.usefixtures("interpreter")
THREE = """
    class Model:
        def execute(self, inputs, parameters):
            try:
                for number in range(3):
                    yield {"y": inputs["x"] + number}
            finally:
                print("closed")
    """


def test_a_decoupled_model_yields_each_response_when_it_is_asked_for(loaded, capsys):
    responses = loaded(THREE, DECOUPLED).stream({"x": np.zeros(1, np.float32)})

    assert next(responses)["y"].tolist() == [0]
    assert capsys.readouterr().out == ""
    assert [one["y"].tolist() for one in responses] == [[1], [2]]
    assert capsys.readouterr().out == "closed\n"


def test_what_is_asked_for_no_more_is_closed(loaded, capsys):
    responses = loaded(THREE, DECOUPLED).stream({"x": np.zeros(1, np.float32)})
    next(responses)

    responses.close()

    assert capsys.readouterr().out == "closed\n"


def test_each_response_is_held_against_the_configuration(loaded):
    runtime = loaded(
        """
        class Model:
            def execute(self, inputs, parameters):
                yield {"y": inputs["x"]}
                yield {"z": inputs["x"]}
        """,
        DECOUPLED,
    )
    responses = runtime.stream({"x": np.zeros(1, np.float32)})
    next(responses)

    with pytest.raises(WrongResult, match="it returned output 'z'"):
        next(responses)


def test_a_decoupled_model_must_yield(loaded):
    runtime = loaded(DOUBLE, DECOUPLED)

    with pytest.raises(WrongResult, match="returned a dict; a decoupled model must yield"):
        next(runtime.stream({"x": np.zeros(1, np.float32)}))


def test_a_model_that_yields_must_say_so(refusal):
    assert "say model_transaction_policy { decoupled: true } in config.pbtxt" in refusal(THREE)
