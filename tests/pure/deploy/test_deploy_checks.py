"""The checks of deploy/ notice what they are for."""

import copy

import pytest
from deploy_check.check import Check, Wrong, output_of, require
from deploy_check.cluster import _here
from deploy_check.pods import restricted, sparing
from deploy_check.rendered import PodSpec, pods_of

PROBE = {"httpGet": {"path": "/livez", "port": "health"}}
CONTAINER = {
    "name": "node",
    "args": ["node"],
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "ports": [{"name": "health", "containerPort": 8003}],
    "livenessProbe": PROBE,
    "readinessProbe": PROBE,
    "startupProbe": PROBE,
}
SPEC = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [CONTAINER],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
}


def pod(change=None):
    spec = copy.deepcopy(SPEC)
    if change is not None:
        change(spec, spec["containers"][0])
    return PodSpec("Deployment/one", {"app.kubernetes.io/component": "node"}, spec)


def test_a_sound_pod_has_no_fault():
    assert [*restricted(pod()), *sparing(pod())] == []


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("hostNetwork", lambda s, _: s.update(hostNetwork=True)),
        ("volume hostPath", lambda s, _: s["volumes"].append({"name": "h", "hostPath": {}})),
        ("hostPort", lambda _, c: c["ports"][0].update(hostPort=1)),
        ("privileged", lambda _, c: c["securityContext"].update(privileged=True)),
        ("Escalation", lambda _, c: c["securityContext"].pop("allowPrivilegeEscalation")),
        ("not dropped", lambda _, c: c["securityContext"].pop("capabilities")),
        ("are added", lambda _, c: c["securityContext"]["capabilities"].update(add=["SYS_PTRACE"])),
        ("runAsNonRoot", lambda s, _: s["securityContext"].pop("runAsNonRoot")),
        ("runAsNonRoot", lambda _, c: c["securityContext"].update(runAsNonRoot=False)),
        ("as root", lambda s, _: s["securityContext"].update(runAsUser=0)),
        ("seccomp", lambda s, _: s["securityContext"].pop("seccompProfile")),
        (
            "seccomp",
            lambda _, c: c["securityContext"].update(seccompProfile={"type": "Unconfined"}),
        ),
        ("procMount", lambda _, c: c["securityContext"].update(procMount="Unmasked")),
        ("sysctls", lambda s, _: s["securityContext"].update(sysctls=[{"name": "a"}])),
    ],
)
def test_each_field_of_the_profile_counts(fault, change):
    (found,) = restricted(pod(change))

    assert fault in found


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("token of Kubernetes", lambda s, _: s.pop("automountServiceAccountToken")),
        ("come as variables", lambda s, _: s.pop("enableServiceLinks")),
        ("can be written", lambda _, c: c["securityContext"].pop("readOnlyRootFilesystem")),
        ("no readinessProbe", lambda _, c: c.pop("readinessProbe")),
        ("which is no port", lambda _, c: c["ports"][0].update(name="other")),
        ("password", lambda _, c: c["args"].append("--redis=redis://a:b@c")),
    ],
)
def test_so_does_what_the_chart_asks_for_itself(fault, change):
    (found,) = sparing(pod(change))

    assert fault in found


def test_pods_are_found_in_all_that_has_some():
    labels = {"a": "b"}
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": SPEC}},
    }
    alone = {"kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": SPEC}
    account = {"kind": "ServiceAccount", "metadata": {"name": "s"}}

    assert [one.name for one in pods_of((deployment, alone, account))] == ["Deployment/d", "Pod/p"]


@pytest.mark.parametrize(
    ("word", "here"),
    [
        ("gateway", "gateway"),
        ("--models=/models", "--models=/here/m"),
        ("--tls-cert=/tls/tls.crt", "--tls-cert=/here/t/tls.crt"),
        ("--port=8001", "--port=40001"),
        ("--max-calls=8001", "--max-calls=8001"),
        ("--name=/modelsx", "--name=/modelsx"),
        ("/tmp", "/here/e"),  # noqa: S108 - a container's
    ],
)
def test_arguments_are_told_with_files_and_ports_of_this_machine(word, here):
    mounts = {"/models": "/here/m", "/tls": "/here/t", "/tmp": "/here/e"}  # noqa: S108

    assert _here(word, mounts, {"8001": "40001"}) == here


def test_a_program_that_fails_is_a_fault_with_what_it_said():
    with pytest.raises(Wrong, match="status 3"):
        output_of("sh", "-c", "echo why; exit 3")
    with pytest.raises(Wrong, match=r"no end within 0\.1 s"):
        output_of("sleep", "5", within_s=0.1)


def test_faults_are_told_each_in_a_line():
    with pytest.raises(Wrong) as raised:
        require(["one", "two"])

    assert raised.value.faults == ("one", "two")
    assert Check("nothing wrong", lambda: "all").run() == "all"
