"""Metrics of real clusters, as Prometheus gets them."""

import os
import signal

import numpy as np
import psutil
import tritonclient.grpc as triton
from support.metrics import scrape
from support.processes.groups import free_ports
from support.waiting import until


def infer(url, model, times):
    image = triton.InferInput("image", [2, 1, 8, 8], "FP32")
    image.set_data_from_numpy(np.zeros((2, 1, 8, 8), np.float32))
    with triton.InferenceServerClient(url) as client:
        for _ in range(times):
            client.infer(model, [image], model_version="2")


def test_they_count_what_clients_were_answered(digits_cluster):
    labels = (("model", "digits"), ("version", "2"))
    before = scrape(digits_cluster.metrics_url())

    infer(digits_cluster.url, "digits", 3)

    after = scrape(digits_cluster.metrics_url())
    grown = {key: after[key] - before[key] for key in after if key in before}
    assert grown["nv_inference_request_success", labels] == 3
    assert grown["nv_inference_count", labels] == 6
    assert grown["nv_inference_exec_count", labels] == 3
    assert grown["nv_inference_request_duration_us", labels] > 0
    assert after["nv_inference_pending_request_count", labels] == 0
    assert after["penstock_jobs_live", labels] == 0
    stage = (("model", "digits"), ("stage", "1"), ("state", "ready"), ("version", "2"))
    assert after["penstock_workers", stage] == 1


async def test_of_several_processes_one_answers_and_its_successor_after_it(cluster, no_models):
    (port,) = free_ports(1)
    running = cluster(no_models, "--processes", "2", "--metrics-port", str(port))
    url = running.metrics_url()

    first = gateway_of(url)
    siblings = [one.cmdline()[4:6] for one in psutil.Process(first).parent().children()]
    os.kill(first, signal.SIGKILL)

    def successor():
        try:
            return gateway_of(url)
        except OSError:
            return None

    assert url == f"http://127.0.0.1:{port}/metrics"
    assert await until(successor, 20) != first
    # They are forked from their parent as it was born, and are its own.
    assert (siblings.count(["template", "seed"]), len(siblings)) == (1, 3)
    assert "what they came from is gone" not in running.output()


def gateway_of(url):
    """The process that answers, by its own account."""
    (labels,) = [labels for name, labels in scrape(url) if name == "penstock_gateway_redis_up"]
    return int(dict(labels)["gateway"].rpartition("/")[2])


def test_a_cluster_can_do_without(cluster, no_models):
    running = cluster(no_models, "--no-metrics")

    assert "Metrics" not in running.output()
