"""Faults to plant in what a container, or a service of a host, asks of a role."""

from chaos.planted.fault import Mutant

IN_CONTAINERS = [
    Mutant(
        "containers: process 1 keeps SIGTERM to itself until it has begun",
        "src/penstock/process/lifetime.py",
        "    if os.getpid() == 1:\n",
        "    if os.getpid() == 0:\n",
        "tests/cluster/start/test_in_containers.py::"
        "test_the_first_process_ends_when_told_to_though_it_has_not_begun",
    ),
    Mutant(
        "containers: a role that waits for its store hears nothing else",
        "src/penstock/process/lifetime.py",
        "        if task is not None:\n            task.cancel()\n",
        "        del task\n",
        "tests/redis/store/test_told_while_starting.py",
    ),
    Mutant(
        "containers: what others have of a GPU is given away",
        "workers/node/devices.py",
        "    return min(gpu.memory_bytes, allowed) if gpu.memory_bytes else allowed\n",
        "    return gpu.memory_bytes or allowed\n",
        "tests/pure/workers/node/test_devices.py",
    ),
    Mutant(
        "containers: systemd is not told that a role serves",
        "src/penstock/process/lifetime.py",
        '            to.sendto(b"READY=1", address',
        '            to.sendto(b"STATUS=up", address',
        "tests/pure/cli/test_service_manager.py",
    ),
]
