"""What makes two requests the same, and what they share then."""

import numpy as np
import pytest
from support.clients.infer_requests import ask

from penstock.errors import InvalidRequest
from penstock.gateway.replies.content_digest import KEY_PARAMETER, content_digest, keyed_digest
from penstock.gateway.replies.shared import NO_ID, share_of, with_id
from penstock.gateway.requests.idempotency import (
    METADATA,
    checked_key,
    key_of,
    metadata_key,
    refuse_for_stream,
)
from penstock.models.refs import StageRef
from penstock.protos.grpc_service_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from penstock.scheduler.jobs.shared_replies import cached, keyed

ONE, TWO = np.float32([[1, 2]]), np.float32([[3, 4]])
REF = StageRef("m", 1, 0, "abc")


def digest(request):
    return content_digest(request, None)


def both(**changes):
    return ask(("a", ONE), ("b", TWO), **changes)


def _with(request, change):
    change(request)
    return request


class TestContent:
    def test_the_id_and_how_to_treat_the_request_do_not_count(self):
        treated = both(
            request_id="other",
            priority=InferParameter(int64_param=2),
            timeout=InferParameter(int64_param=7),
            triton_enable_empty_final_response=InferParameter(bool_param=True),
            **{KEY_PARAMETER: InferParameter(string_param="k")},
        )

        assert digest(treated) == digest(both())

    def test_inputs_count_by_name(self):
        assert digest(ask(("b", TWO), ("a", ONE))) == digest(both())
        assert digest(ask(("b", ONE), ("a", TWO))) != digest(both())

    def test_raw_contents_may_be_apart(self):
        apart = both()
        raws = [memoryview(raw) for raw in apart.raw_input_contents]
        del apart.raw_input_contents[:]

        assert content_digest(apart, raws) == digest(both())

    def test_the_order_of_parameters_does_not_count(self):
        values = {"x": InferParameter(int64_param=1), "y": InferParameter(string_param="z")}

        assert digest(both(**values)) == digest(both(**dict(reversed(values.items()))))

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r.parameters["x"].__setattr__("int64_param", 1),
            lambda r: r.parameters["x"].__setattr__("bool_param", True),
            lambda r: r.parameters["y"].__setattr__("int64_param", 1),
            lambda r: r.outputs.add(name="y"),
            lambda r: r.outputs.add(name="z"),
            lambda r: (
                r.outputs.add(name="y").parameters["classification"].__setattr__("int64_param", 1)
            ),
            lambda r: r.inputs[0].__setattr__("datatype", "INT32"),
            lambda r: r.inputs[0].shape.__setitem__(slice(None), [2, 1]),
            lambda r: r.inputs[0].__setattr__("name", "c"),
            lambda r: r.raw_input_contents.__setitem__(0, b"x" * 8),
            # The same bytes, cut elsewhere.
            lambda r: (
                r.raw_input_contents.__setitem__(0, ONE.tobytes()[:4]),
                r.raw_input_contents.__setitem__(1, ONE.tobytes()[4:] + TWO.tobytes()),
            ),
        ],
    )
    def test_everything_else_counts(self, change):
        seen = digest(both())

        changed = _with(both(), change)

        assert digest(changed) != seen

    def test_no_two_of_them_are_equal(self):
        one = _with(both(), lambda r: r.outputs.add(name="y"))
        two = _with(both(), lambda r: r.parameters["y"].SetInParent())

        assert digest(one) != digest(two)


class TestNames:
    def test_a_cached_reply_is_of_one_content_of_one_version(self):
        names = {
            cached(ref, "d", 1, 1).owner
            for ref in (REF, REF._replace(version=2), REF._replace(revision_id="def"))
        }

        assert len(names) == 3

    def test_a_key_outlives_a_reload(self):
        newer = REF._replace(version=2, revision_id="def")

        assert keyed(REF.model, "k", "d", 1, 1).owner == keyed(newer.model, "k", "d", 1, 1).owner
        assert keyed(REF.model, "k", "d", 1, 1).owner != cached(REF, "k", 1, 1).owner

    def test_keys_of_different_models_differ(self):
        assert keyed("m", "k", "d", 1, 1).owner != keyed("n", "k", "d", 1, 1).owner

    def test_callers_share_nothing_with_each_other(self):
        names = {
            owner
            for caller in ("", "a", "b")
            for owner in (
                keyed("m", "k", "d", 1, 1, caller).owner,
                cached(REF, "d", 1, 1, caller).owner,
            )
        }

        assert len(names) == 6

    def test_nobodys_key_is_a_callers(self):
        """Whatever a model, or a key, is called."""
        assert keyed("m", "k", "d", 1, 1, "a").owner == "~key//a/m/k"
        assert keyed("a", "m/k", "d", 1, 1).owner == "~key/a/m/k"

    def test_the_version_that_was_asked_for_is_content_of_a_key(self):
        assert keyed_digest("d", "1") != keyed_digest("d", "")

    def test_the_clusters_bytes_are_those_of_all_partitions(self):
        assert share_of(1000, {3}) == 1000
        assert share_of(1000, {0, 1, 2, 3}) == 250
        assert share_of(1000, set()) == 1000


class TestIds:
    def test_a_job_has_none(self):
        sent = both(request_id="mine").SerializeToString() + NO_ID

        assert ModelInferRequest.FromString(sent).id == ""
        assert len(ModelInferRequest.FromString(sent).inputs) == 2

    @pytest.mark.parametrize("id_", ["", "mine", "ü" * 200])
    def test_a_reply_has_its_requests(self, id_):
        reply = ModelInferResponse(model_name="m", raw_output_contents=[b"x"])

        told = ModelInferResponse.FromString(with_id(reply.SerializeToString(), id_))

        assert (told.id, told.model_name, list(told.raw_output_contents)) == (id_, "m", [b"x"])


class TestKeys:
    def test_a_call_may_have_one(self):
        assert metadata_key((("user-agent", "x"), (METADATA, "k"))) == "k"
        assert metadata_key((("user-agent", "x"),)) is None

    def test_two_are_refused(self):
        with pytest.raises(InvalidRequest, match="not several"):
            metadata_key(((METADATA, "k"), (METADATA, "l")))

    @pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ü", "\n", b"k"])
    def test_what_cannot_be_one_is_refused(self, key):
        with pytest.raises(InvalidRequest, match="1 to 255 printable ASCII"):
            checked_key(key)

    @pytest.mark.parametrize("key", ["k", "x" * 255, "!~{}:/"])
    def test_what_can_is_taken(self, key):
        assert checked_key(key) == key

    def test_a_request_may_bring_it_itself(self):
        request = both(**{KEY_PARAMETER: InferParameter(string_param="k")})

        assert key_of(request, None) == key_of(request, "k") == "k"
        assert key_of(both(), "l") == "l"

    def test_two_that_differ_are_refused(self):
        request = both(**{KEY_PARAMETER: InferParameter(string_param="k")})

        with pytest.raises(InvalidRequest, match="differ"):
            key_of(request, "l")

    def test_one_of_another_type_is_refused(self):
        request = both(**{KEY_PARAMETER: InferParameter(int64_param=1)})

        with pytest.raises(InvalidRequest, match=f"'{KEY_PARAMETER}' parameter, expected string"):
            key_of(request, None)

    def test_a_streams_metadata_names_no_request(self):
        refuse_for_stream([("user-agent", "x")])
        with pytest.raises(InvalidRequest, match=KEY_PARAMETER):
            refuse_for_stream([(METADATA, "k")])
