"""What a cut means: which tensors travel, what each stage needs, and where no cut can be."""

from penstock.sharding.graph import Graph, Operation, Sequenced, Tensor, Weight
from penstock.sharding.report import report_stages


def tensor(*dims, item_bytes=32, may_cross=None):
    leads = dims[:1] == ("n",) if may_cross is None else may_cross
    return Tensor("FP32", dims, item_bytes, leads)


def op(text, *, sizes_only=False):
    """``op("x a -> h")``."""
    reads, _, writes = text.partition("->")
    return Operation(f"make {writes.strip()}", (*reads.split(),), (*writes.split(),), sizes_only)


def graph(*operations, inputs=("x",), outputs=("y",), tensors=None):
    """Weights are called a, b, c; every other tensor is [n, 8] unless *tensors* says otherwise."""
    names = {name for one in operations for name in (*one.reads, *one.writes)} | {*inputs}
    weights = {name: Weight(64, 256) for name in names & {*"abc"}}
    known = {name: tensor("n", 8) for name in names - weights.keys()}
    known.update(tensors or {})
    return Graph(
        inputs,
        outputs,
        operations,
        weights,
        {name: known[name] for name in known if known[name] is not None},
    )


def test_a_tensor_travels_until_its_last_reader():
    """A residual connection goes over both cuts, and only its readers read it."""
    sequenced = Sequenced(graph(op("x a -> h"), op("h b -> g"), op("g h -> y")))

    first, second, third = sequenced.stages((1, 2))

    assert sequenced.crossing(1) == ["h"]
    assert sequenced.crossing(2) == ["h", "g"]
    assert (list(first.outputs), list(second.outputs), list(third.outputs)) == (["h"], ["g"], ["y"])
    assert (list(second.inputs), list(third.inputs)) == (["h"], ["h", "g"])


def test_a_cut_costs_what_travels_over_it():
    sequenced = Sequenced(graph(op("x a -> h"), op("h b -> g"), op("g x -> y")))

    assert [step.crossing_bytes for step in sequenced.steps()] == [64, 64, None]


def test_a_late_input_comes_from_the_request():
    stages = Sequenced(
        graph(op("x a -> h"), op("h late -> y"), inputs=("x", "late"), outputs=("y",))
    ).stages((1,))

    assert [list(stage.inputs) for stage in stages] == [["x"], ["late", "h"]]


def test_each_stage_holds_the_weights_that_it_reads():
    stages = Sequenced(graph(op("x a -> h"), op("h b -> g"), op("g a -> y"))).stages((2,))

    assert [stage.weights for stage in stages] == [{"a", "b"}, {"a"}]


def test_what_depends_on_weights_alone_is_computed_again_and_never_travels():
    sequenced = Sequenced(graph(op("a -> k"), op("x k -> h"), op("h k -> y")))

    stages = sequenced.stages((1,))

    assert sequenced.crossing(1) == ["h"]
    assert [stage.operations for stage in stages] == [(0, 1), (0, 2)]
    assert [stage.weights for stage in stages] == [{"a"}, {"a"}]


def test_sizes_are_read_from_what_a_stage_has():
    """The second stage needs the size of x, which it does not get: h has the same."""
    shape = op("x -> shape", sizes_only=True)
    sequenced = Sequenced(
        graph(shape, op("x a -> h"), op("h shape -> y"), tensors={"shape": tensor(2)})
    )

    stages = sequenced.stages((1,))

    assert list(stages[1].inputs) == ["h"]
    assert stages[1].sizes_from == {"n": ("h", 0)}
    assert stages[1].operations == (0, 2)


def test_a_size_that_no_input_tells_brings_in_a_tensor_that_does():
    """Only r tells the length m, and it crosses the cut for the third stage anyway."""
    sequenced = Sequenced(
        graph(
            op("x -> size", sizes_only=True),
            op("x a -> h r"),
            op("h size -> g"),
            op("g r -> y"),
            tensors={"x": tensor("n", "m"), "r": tensor("n", "m"), "size": tensor(2)},
        )
    )

    stage = sequenced.stages((1, 2))[1]

    assert list(stage.inputs) == ["h", "r"]
    assert stage.sizes_from == {"n": ("h", 0), "m": ("r", 1)}


def test_there_is_no_cut_where_a_needed_size_is_not_told():
    sequenced = Sequenced(
        graph(
            op("x -> size", sizes_only=True),
            op("x a -> h"),
            op("h size -> y"),
            tensors={"x": tensor("n", "m"), "size": tensor(2)},
        )
    )

    assert [step.crossing_bytes for step in sequenced.steps()] == [None, None]


def test_there_is_no_cut_where_a_tensor_lacks_the_batch():
    sequenced = Sequenced(
        graph(op("x a -> h"), op("h b -> g"), op("g -> y"), tensors={"h": tensor(5, "n")})
    )

    assert [step.crossing_bytes for step in sequenced.steps()] == [None, 32, None]


def test_there_is_no_cut_where_a_tensor_is_unknown():
    sequenced = Sequenced(graph(op("x a -> h"), op("h -> y"), tensors={"h": None}))

    assert [step.crossing_bytes for step in sequenced.steps()] == [None, None]


def test_what_no_output_needs_is_left_out():
    stages = Sequenced(graph(op("x a -> h"), op("h b -> unused"), op("h -> y"))).stages(())

    assert [stage.operations for stage in stages] == [(0, 2)]
    assert stages[0].weights == {"a"}


def test_the_last_stage_hands_out_all_outputs():
    """One that is made before it comes under another name: two stages cannot write one name."""
    sequenced = Sequenced(
        graph(op("x a -> early"), op("early b -> h"), op("h c -> y"), outputs=("early", "y"))
    )

    first, second, last = sequenced.stages((1, 2))

    assert first.outputs == {"early": "early_early"}
    assert (second.inputs, second.outputs) == ({"early": "early_early"}, {"h": "h"})
    assert last.inputs == {"early": "early_early", "h": "h"}
    assert last.outputs == {"early": "early", "y": "y"}


def test_the_other_name_is_nobody_elses():
    sequenced = Sequenced(
        graph(op("x a -> h"), op("h b -> h_early"), op("h_early c -> y"), outputs=("h", "y"))
    )

    assert sequenced.stages((1,))[0].outputs == {"h": "h_early_"}


def test_a_whole_model_is_one_stage_with_its_own_names():
    (stage,) = Sequenced(graph(op("x a -> h"), op("h b -> y"), outputs=("h", "y"))).stages(())

    assert (stage.inputs, stage.outputs) == ({"x": "x"}, {"h": "h", "y": "y"})


def test_a_report_tells_each_stage_as_the_wire_sees_it():
    whole = graph(op("x a -> h"), op("h b -> y"), outputs=("h", "y"))
    sequenced = Sequenced(whole)

    first, last = report_stages(
        whole, sequenced.stages((1,)), [sequenced.crossing(1)], ["shard-0.onnx", "shard-1.onnx"]
    )

    assert (first.file, first.cut_after, first.crossing) == ("shard-0.onnx", "make h", ("h",))
    assert (first.parameters, first.parameter_bytes, first.crossing_bytes) == (64, 256, 32)
    assert [(t.name, t.datatype, t.shape) for t in last.inputs] == [("h_early", "FP32", [-1, 8])]
    assert [t.name for t in last.outputs] == ["h", "y"]
    assert (last.cut_after, last.crossing_bytes) == (None, None)
