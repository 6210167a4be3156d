"""Models are loaded, changed and unloaded while the cluster runs, and no request is lost by it."""

import asyncio
import contextlib
import shutil
import time

import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.asked import Asked
from support.clients.control import entries_of, image, index_of, refused, soon, sound
from support.clients.load import DIGITS, Load, eventually, expected
from support.models.repositories import add_digits, touch
from support.processes.cluster import Cluster
from support.processes.forks import ended

from penstock.protos import grpc_service_pb2 as pb

CROWD = 64
EXPLICIT = ("--model-control-mode", "explicit")


@pytest.fixture(scope="module")
def polled(tmp_path_factory):
    """A cluster that follows its repository; each test adds a model of its own."""
    root = tmp_path_factory.mktemp("polled") / "models"
    root.mkdir()
    add_digits(root, "always", "1")
    one = Cluster(root.parent / "cluster", root, "--repository-poll-secs", "0.2")
    with one.running():
        yield one


@contextlib.asynccontextmanager
async def added(polled, name, *versions, **options):
    """What asks *polled*, which serves a model of *name* meanwhile, and its entry."""
    entry = add_digits(polled.models, name, *versions, **options)
    try:
        async with Asked(polled.url) as asked:

            async def served():
                index = await asked.index()
                return all((name, v) in index and index[name, v].state == "READY" for v in versions)

            await eventually(served)
            yield asked, entry
    finally:
        shutil.rmtree(entry)


class TestChanges:
    @pytest.mark.parametrize("version", ["1", "2"])
    async def test_a_changed_artifact_takes_over_without_a_failed_request(self, polled, version):
        name = f"changed-{version}"
        async with added(polled, name, version) as (asked, entry):
            before = (await asked.pids())[name, int(version)]
            async with Load(polled.url, version=version, clients=CROWD, model=name) as load:
                await load.more(CROWD)
                for artifact in (entry / version).glob("*.onnx"):
                    touch(artifact)

                async def others():
                    now = (await asked.pids())[name, int(version)]
                    return len(now) == len(before) and not now & before

                await eventually(others)
                await load.more(CROWD)
            sound(load)
            await eventually(lambda: not before & set(polled.processes()["worker"]))

    async def test_a_changed_configuration_takes_over_without_a_failed_request(self, polled):
        name = "configured"
        async with added(polled, name, "1", "2") as (asked, entry):
            config = entry / "config.pbtxt"
            async with Load(polled.url, version="", clients=CROWD, model=name) as load:
                await load.more(CROWD)
                config.write_text(config.read_text().replace("size: 64", "size: 32"))

                async def changed():
                    request = pb.ModelConfigRequest(name=name, version="2")
                    answer = await asked.stub.ModelConfig(request)
                    return answer.config.max_batch_size == 32

                await eventually(changed)
                await load.more(CROWD)
            sound(load)

    async def test_a_damaged_artifact_does_not_replace_a_good_one(self, polled):
        name = "damaged"
        async with added(polled, name, "1") as (asked, entry):
            async with Load(polled.url, version="1", clients=4, model=name) as load:
                (entry / "1" / "model.onnx").write_bytes(b"no model")

                async def told():
                    return (await asked.index())[name, "1"].reason

                reason = await eventually(lambda: told_when_failed(told))
                await load.more(CROWD)
            sound(load)
            state = await asked.state(name, "1")

        assert state == "READY"
        assert reason.startswith("its newer revision cannot be served: ")
        assert "is not a model that ONNX Runtime" in reason

    async def test_a_new_version_takes_over_without_a_failed_request(self, polled):
        name = "newer"

        def latest(config):
            return config.replace("all {}", "latest { num_versions: 1 }")

        async with added(polled, name, "1", edited=latest) as (asked, entry):
            async with Load(polled.url, version="", clients=CROWD, model=name) as load:
                await load.more(CROWD)
                shutil.copytree(DIGITS / "models" / "digits" / "2", polled.models.parent / "2")
                (polled.models.parent / "2").rename(entry / "2")

                async def switched():
                    return [one for one in await asked.index() if one[0] == name] == [(name, "2")]

                await eventually(switched)
                await load.more(CROWD)
            sound(load)


async def told_when_failed(told):
    reason = await told()
    return reason if "cannot be served" in reason else None


@pytest.fixture(scope="module")
def waiting(tmp_path_factory):
    """A cluster that loads nothing by itself, for tests with models of their own.

    `broken` is one test's, which puts it right.
    """
    root = tmp_path_factory.mktemp("waiting") / "models"
    for name in ("digits", "broken"):
        shutil.copytree(DIGITS / "models" / "digits", root / name)
    config = root / "broken" / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "digits"', 'name: "broken"'))
    (root / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    one = Cluster(root.parent / "cluster", root, *EXPLICIT, "--repository-poll-secs", "0.1")
    with one.running():
        yield one


@pytest.fixture
def waiting_client(waiting):
    with triton.InferenceServerClient(waiting.url) as client:
        yield client


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A cluster that has loaded `digits` at its start, and not `other`; tests leave it so."""
    root = tmp_path_factory.mktemp("loaded") / "models"
    for name in ("digits", "other"):
        shutil.copytree(DIGITS / "models" / "digits", root / name)
    (root / "other" / "config.pbtxt").unlink()
    one = Cluster(root.parent / "cluster", root, *EXPLICIT, "--load-model", "digits")
    with one.running():
        yield one


@pytest.fixture
def loaded_client(loaded):
    with triton.InferenceServerClient(loaded.url) as client:
        yield client


class TestExplicit:
    def test_a_model_is_loaded_served_and_unloaded(self, waiting, waiting_client):
        client, others = waiting_client, set(waiting.processes()["worker"])
        add_digits(waiting.models, "loaded", "1", "2")

        assert soon(lambda: entries_of(client, "loaded") == {"": ("", "")})
        assert client.is_server_ready()
        assert not client.is_model_ready("loaded")
        assert refused(client.infer, "loaded", [image()]) == (
            "StatusCode.NOT_FOUND",
            "Request for unknown model: 'loaded' is not found",
        )

        client.load_model("loaded")

        assert client.is_model_ready("loaded", "1")
        assert client.is_model_ready("loaded", "2")
        assert client.infer("loaded", [image()]).get_response().model_version == "2"
        own = set(waiting.processes()["worker"]) - others

        client.unload_model("loaded")

        unloaded = ("UNAVAILABLE", "unloaded")
        assert entries_of(client, "loaded") == {"1": unloaded, "2": unloaded}
        assert not client.is_model_ready("loaded")
        assert own
        assert soon(lambda: not own & set(waiting.processes()["worker"]))
        assert refused(client.infer, "loaded", [image()]) == (
            "StatusCode.NOT_FOUND",
            "Request for unknown model: 'loaded' has no available versions",
        )

    def test_models_to_load_at_the_start_are_loaded(self, loaded_client):
        assert loaded_client.is_model_ready("digits")
        assert index_of(loaded_client)["other", ""] == ("", "")

    def test_what_changes_in_the_repository_counts_when_it_is_loaded_again(
        self, waiting, waiting_client
    ):
        client, entry = waiting_client, add_digits(waiting.models, "again", "1")
        assert soon(lambda: entries_of(client, "again"))
        client.load_model("again")
        shutil.copytree(DIGITS / "models" / "digits" / "2", entry / "2")
        add_digits(waiting.models, "late", "1")

        assert soon(lambda: entries_of(client, "late"))
        assert list(entries_of(client, "again")) == ["1"]

        client.load_model("again")

        assert client.is_model_ready("again", "2")

    def test_refusals_have_tritons_words(self, waiting_client):
        client = waiting_client

        assert refused(client.load_model, "nothing") == (
            "StatusCode.INTERNAL",
            "failed to load 'nothing', failed to poll from model repository",
        )
        client.unload_model("nothing")
        client.unload_model("nothing", unload_dependents=True)
        for name in ("", " ", "../digits"):
            client.unload_model(name)
        for name in (" ", " digits"):
            assert refused(client.load_model, name) == (
                "StatusCode.INTERNAL",
                f"failed to load '{name}', failed to poll from model repository",
            )
        assert refused(client.load_model, "") == (
            "StatusCode.INVALID_ARGUMENT",
            "Model name cannot be empty. Please enter a valid name to deploy.",
        )
        assert refused(client.load_model, "../digits") == (
            "StatusCode.INVALID_ARGUMENT",
            "invalid model name '../digits', model name must not contain path traversal characters",
        )
        assert refused(client.load_model, "digits", config="no json")[0] == "StatusCode.INTERNAL"

    def test_a_load_fails_with_the_workers_reason_and_works_once_it_is_put_right(
        self, waiting, waiting_client
    ):
        client = waiting_client

        status, text = refused(client.load_model, "broken")

        assert status == "StatusCode.INVALID_ARGUMENT"
        assert text.startswith(
            "load failed for model 'broken': version 1 is at UNAVAILABLE state: "
        )
        assert "model.onnx is not a model that ONNX Runtime" in text
        assert index_of(client)["broken", "1"][0] == "UNAVAILABLE"

        good = waiting.models / "digits" / "1" / "model.onnx"
        shutil.copy(good, waiting.models / "broken" / "1")
        client.load_model("broken")

        assert client.is_model_ready("broken", "1")

    def test_a_configuration_comes_with_the_load(self, loaded_client):
        client = loaded_client

        client.load_model(
            "digits",
            config='{"max_batch_size": 5, "version_policy": {"specific": {"versions": [1]}}}',
        )

        assert client.get_model_config("digits").config.max_batch_size == 5
        assert client.is_model_ready("digits", "1")
        assert not client.is_model_ready("digits", "2")

        client.load_model("digits")

        assert client.get_model_config("digits").config.max_batch_size == 64
        assert client.is_model_ready("digits", "2")

    def test_files_come_with_the_load(self, waiting, waiting_client):
        content = (waiting.models / "digits" / "1" / "model.onnx").read_bytes()
        client = waiting_client

        status, text = refused(client.load_model, "sent", files={"file:3/model.onnx": content})
        client.load_model("sent", config="{}", files={"file:3/model.onnx": content})
        answer = client.infer("sent", [image()])

        assert status == "StatusCode.INTERNAL"
        assert "failed to load 'sent', failed to poll from model repository" in text
        assert answer.get_response().model_version == "3"
        np.testing.assert_allclose(answer.as_numpy("probabilities")[0], expected()[0], atol=1e-4)

        client.unload_model("sent")

        assert index_of(client)["sent", "3"] == ("UNAVAILABLE", "unloaded")

    def test_the_commands_do_the_same(self, waiting, waiting_client):
        artifact = waiting.models / "digits" / "1" / "model.onnx"

        def penstock(*words):
            return ended("models", *words, "--url", waiting.url)

        config = waiting.models / "digits" / "config.pbtxt"
        labels = waiting.models / "digits" / "labels.txt"

        assert penstock("load", "digits") == (0, "digits is loaded\n")
        assert penstock(
            *("load", "digits", "--config", str(config)),
            *("--file", f"7/model.onnx={artifact}", "--file", f"labels.txt={labels}"),
        ) == (0, "digits is loaded\n")
        assert waiting_client.is_model_ready("digits", "7")
        assert penstock("unload", "digits") == (0, "digits is unloaded\n")
        status, text = penstock("load", "nothing")
        assert status == 1
        assert "failed to load 'nothing', failed to poll from model repository" in text

    async def test_loading_and_unloading_fail_no_request(self, waiting, waiting_client):
        """A changed artifact is loaded at 64 clients, and then unloaded under them."""
        client, entry = waiting_client, add_digits(waiting.models, "busy", "1")
        await asyncio.to_thread(client.load_model, "busy")
        async with Load(waiting.url, version="1", clients=CROWD, model="busy") as load:
            await load.more(CROWD)
            touch(entry / "1" / "model.onnx")
            await asyncio.to_thread(client.load_model, "busy")
            await load.more(CROWD)
            sound(load)
            await asyncio.to_thread(client.unload_model, "busy")

        told = {error.partition(":")[0] for error in load.answers.errors}
        assert told <= {"NOT_FOUND", "UNAVAILABLE"}, load.answers.errors
        assert load.answers.wrong == 0

    async def test_what_was_loaded_stays_when_redis_forgets_everything(
        self, cluster, onnx_digits, store
    ):
        running = cluster(onnx_digits, *EXPLICIT, "--load-model", "digits", "--redis", store.url)
        with triton.InferenceServerClient(running.url) as client:
            await asyncio.to_thread(client.load_model, "digits", config='{"max_batch_size": 9}')
            store.command("FLUSHALL")

            async with Load(running.url, version="2", clients=4, deadline_s=20) as load:
                await load.more(20)
            sound(load)

            assert soon(lambda: client.is_model_ready("digits", "2"))
            assert client.get_model_config("digits").config.max_batch_size == 9


class TestOtherModes:
    @pytest.fixture(scope="class")
    @classmethod
    def polling(cls, tmp_path_factory):
        """Two repositories, one model in each of them, and `both` in both."""
        folder = tmp_path_factory.mktemp("polling")
        one, other = folder / "models", folder / "more"
        for place in (one / "digits", one / "both", other / "extra", other / "both"):
            shutil.copytree(DIGITS / "models" / "digits", place)
        (other / "extra" / "config.pbtxt").unlink()
        running = Cluster(folder / "cluster", one, "--models", str(other))
        with running.running():
            yield running

    def test_polling_refuses_loads_as_triton_does(self, polling):
        with triton.InferenceServerClient(polling.url) as client:
            words = (
                "StatusCode.UNAVAILABLE",
                "explicit model load / unload is not allowed if polling is enabled",
            )

            assert refused(client.load_model, "digits") == words
            assert refused(client.unload_model, "digits") == words

    def test_none_serves_what_was_there_at_the_start(self, cluster, onnx_digits):
        options = ("--model-control-mode", "none", "--repository-poll-secs", "0.1")
        running = cluster(onnx_digits, *options)
        with triton.InferenceServerClient(running.url) as client:
            shutil.rmtree(onnx_digits / "digits" / "2")
            time.sleep(1)

            assert client.is_model_ready("digits", "2")
            assert refused(client.load_model, "digits")[0] == "StatusCode.UNAVAILABLE"

    def test_several_repositories_are_served_as_one(self, polling):
        with triton.InferenceServerClient(polling.url) as client:
            index = index_of(client)

            assert client.is_model_ready("digits", "2")
            assert client.is_model_ready("extra", "2")
            assert index["both", ""][0] == "UNAVAILABLE"
            assert "in several repositories" in index["both", ""][1]
