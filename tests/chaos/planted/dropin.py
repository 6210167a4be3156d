"""Faults to plant where Penstock takes Triton's place: loads, batches, devices, surroundings."""

from chaos.planted.fault import LUA, Mutant

READINESS = "tests/pure/scheduler/test_readiness.py::TestUnavailable::"
PLACEMENT = "tests/pure/scheduler/test_placement_footprints.py::"

IN_TRITONS_PLACE = [
    Mutant(
        "loads: what has failed is counted on while it is tried again",
        "scheduler/decisions/readiness.py",
        "coming = [w for w in workers if w.state in _COMING and not w.load_error]",
        "coming = [w for w in workers if w.state in _COMING]",
        READINESS + "test_its_worker_tries_again_what_has_failed",
    ),
    Mutant(
        "loads: a full disk is taken for a defect",
        "scheduler/roles/answering.py",
        "except (PenstockError, DecodeError, OSError) as error:",
        "except (PenstockError, DecodeError) as error:",
        "tests/redis/registry/test_answering.py::"
        "test_a_disk_without_room_ends_the_load_with_the_reason",
    ),
    Mutant(
        "loads: a file may be called what no file is",
        "src/penstock/models/files/uploaded_files.py",
        " and len(name.encode()) <= LONGEST_NAME",
        "",
        "tests/pure/gateway/models/test_load_parameters.py::test_a_name_that_no_file_can_have",
    ),
    Mutant(
        "batches: the largest preferred size is waited for",
        LUA + "claim.lua",
        "local wait_us = preferred and 0 or batch_delay_us()",
        "local wait_us = batch_delay_us()",
        "tests/redis/jobs/test_claim.py::test_a_batch_that_has_a_preferred_size_waits_for_no_more",
    ),
    Mutant(
        "devices: a worker that turned out larger has to go",
        "scheduler/decisions/ledger.py",
        "        if stays:\n",
        "        if False:\n",
        PLACEMENT + "test_more_than_was_guessed_ends_no_worker_and_lets_no_other_in",
    ),
    Mutant(
        "devices: each worker sees all GPUs",
        "workers/node/devices.py",
        'if kind == "cuda" and gpu.number == int(number)',
        'if kind == "cuda"',
        "tests/pure/workers/node/test_devices.py::test_its_environment_shows_it_that_device_alone",
    ),
    Mutant(
        "surroundings: loopback goes through a proxy",
        "src/penstock/transport/addresses.py",
        'return is_loopback(host) or (host != "" and is_wildcard(host))',
        'return host != "" and is_wildcard(host)',
        "tests/pure/kernel/test_addresses.py::test_what_is_on_this_machine_is_never_behind_a_proxy",
    ),
]
