"""Faults to plant where somebody could get in who should not."""

from chaos.planted.fault import Mutant

REST = "tests/pure/gateway/fronts/test_rest_app.py::"
BYSTANDERS = "tests/cluster/faults/test_bystanders.py::"
UPLOADS = "tests/redis/registry/test_code_by_upload.py::"

WHO_GETS_IN = [
    Mutant(
        "doors: a worker believes that a gateway has looked at what came with a load",
        "workers/app.py",
        "if not settings.allow_code_overrides:",
        "if False:",
        UPLOADS + "test_a_worker_runs_no_code_that_came_over_the_network",
    ),
    Mutant(
        "doors: a gateway takes code that comes with a load",
        "gateway/models/load_parameters.py",
        "if config is not None and not allow_code:",
        "if False:",
        "tests/pure/gateway/models/test_load_parameters.py::test_files_that_may_be_code_need_the_operators_leave",
    ),
    Mutant(
        "doors: whatever TensorRT calls its own reaches it",
        "workers/runtimes/accelerator_options.py",
        "if pattern is not None and pattern.fullmatch(value):",
        'if name.startswith("trt_") or (pattern is not None and pattern.fullmatch(value)):',
        "tests/pure/workers/runtimes/test_onnx_options.py",
    ),
    Mutant(
        "doors: a worker's command line names the store",
        "workers/node/agent.py",
        '            "model": placement.model,',
        '            "redis": settings.redis,\n            "model": placement.model,',
        BYSTANDERS + "test_secrets_are_in_no_command_line",
    ),
    Mutant(
        "doors: the working directory is imported from",
        "src/penstock/process/child_process.py",
        '[sys.executable, "-P", "-m", module, *words]',
        '[sys.executable, "-X", "utf8", "-m", module, *words]',
        BYSTANDERS + "test_nothing_in_the_working_directory_is_run",
    ),
    Mutant(
        "doors: logs tell passwords",
        "src/penstock/telemetry.py",
        "    return redacted(line)",
        "    return str(line)",
        "tests/pure/kernel/test_redaction.py::test_logs_hold_no_secret",
    ),
    Mutant(
        "doors: whoever knows its name may use a region",
        "gateway/requests/shared_memory/regions.py",
        "    if not local:",
        "    if False:",
        "tests/pure/gateway/requests/test_regions.py::test_callers_elsewhere_use_no_regions",
    ),
    Mutant(
        "doors: one team uses another's region",
        "gateway/requests/reading.py",
        "self._regions.of(call.caller.name))",
        'self._regions.of(""))',
        "tests/pure/gateway/requests/test_reading.py::test_a_region_is_its_teams_alone",
    ),
    Mutant(
        "doors: a segment of one team is registered by another",
        "gateway/requests/shared_memory/regions.py",
        "            if name != team\n",
        "            if name == team\n",
        "tests/pure/gateway/requests/test_regions.py::test_a_segment_is_one_teams_alone_by_whichever_name",
    ),
    Mutant(
        "doors: root registers what its owner shares with nobody",
        "gateway/requests/shared_memory/regions.py",
        "    if not _shared_with_us(found):",
        "    if False:",
        "tests/pure/gateway/requests/test_regions.py::test_another_users_segment_is_refused_unless_it_is_shared_with_all",
    ),
    Mutant(
        "doors: one setting that is not understood takes all others with it",
        "gateway/operations/live_settings.py",
        "except (PenstockError, ValueError, LookupError, TypeError, AttributeError) as error:",
        "except MemoryError as error:",
        "tests/redis/registry/test_live_settings.py",
    ),
    Mutant(
        "doors: one record that is not understood ends the gateway",
        "scheduler/decisions/readiness.py",
        "        except Exception as error:",
        "        except MemoryError as error:",
        "tests/pure/gateway/models/test_catalog.py::TestOfAnotherRelease",
    ),
    Mutant(
        "doors: a helper that fails stays away",
        "src/penstock/process/supervised.py",
        "            await sleep(pause_s)",
        "            return",
        "tests/pure/kernel/test_supervised.py",
    ),
    Mutant(
        "doors: a rule without a value is a rule",
        "gateway/fronts/grpc/access.py",
        "if not value.strip():",
        "if False:",
        "tests/pure/gateway/fronts/test_access.py",
    ),
    Mutant(
        "doors: a method that is in no group is open",
        "gateway/fronts/grpc/access.py",
        "        return _refusing(method, Restricted(text))\n    rule =",
        "        return method\n    rule =",
        "tests/pure/gateway/fronts/test_access.py",
    ),
    Mutant(
        "doors: HTTP lets in whom gRPC restricts",
        "gateway/fronts/http/app.py",
        "            self._check(route, exchange)\n",
        "",
        REST + "test_what_is_restricted_over_grpc_is_restricted_here",
    ),
    Mutant(
        "doors: a body over HTTP may have any size",
        "gateway/fronts/http/exchange.py",
        "            if size > self._most:",
        "            if False:",
        REST + "test_a_body_without_a_length_is_counted",
    ),
    Mutant(
        "doors: what is compressed may become any size",
        "gateway/fronts/compression.py",
        "if self._size > self._most:",
        "if False:",
        "tests/pure/gateway/fronts/test_http.py::TestDecompression",
    ),
]

SERVERS = "tests/grpc/servers/test_tls.py::"
CERTIFICATES = "tests/pure/tls/test_server_certificates.py::"
CLIENT = "tests/grpc/test_client_tls.py::"
STORES = "tests/redis/store/test_secure_stores.py::"

ENCRYPTED = [
    Mutant(
        "tls: clients without a certificate get in",
        "gateway/fronts/grpc/aio/server.py",
        'required = certificates.client_auth == "required"',
        "required = False",
        SERVERS + "test_nobody_gets_in_without_a_certificate_that_is_believed",
    ),
    Mutant(
        "tls: a new certificate is never served",
        "src/penstock/transport/server_credentials.py",
        "if made is certificates.current:",
        "if True:",
        SERVERS + "test_certificates_change_without_a_failed_call",
    ),
    Mutant(
        "tls: a change of certificates ends what has begun",
        "gateway/fronts/asgi.py",
        'self._options["timeout_graceful_shutdown"] = _LONGEST_S',
        'self._options["timeout_graceful_shutdown"] = 0.01',
        SERVERS + "test_certificates_change_without_a_failed_call",
    ),
    Mutant(
        "tls: a change of certificates cuts off who keeps connections",
        "gateway/fronts/asgi.py",
        'if self._options.get("http1", True):',
        "if False:",
        "tests/grpc/servers/test_gateway_tls.py::test_http_clients_see_nothing_of_a_change",
    ),
    Mutant(
        "tls: who speaks while a connection ends is reset, and may miss the server's last word",
        "gateway/fronts/farewell.py",
        "return bool(own[1] == self._name[1])",
        "return False",
        SERVERS + "test_who_speaks_while_a_connection_ends_is_not_reset",
    ),
    Mutant(
        "tls: expired certificates are served",
        "src/penstock/transport/changing_certificates.py",
        "if ends_s <= now_s:",
        "if False:",
        CERTIFICATES + "test_an_expired_certificate_is_refused",
    ),
    Mutant(
        "tls: what is wrong with half of a pair is said at once",
        "src/penstock/transport/changing_certificates.py",
        "if stamp == self._doubted:",
        "if True:",
        CERTIFICATES + "test_one_file_may_come_before_the_other",
    ),
    Mutant(
        "tls: a common name stands beside what was verified",
        "gateway/fronts/client_names.py",
        "return (*uris, *hosts) or tuple(str(one.value) for one in common)",
        "return (*uris, *hosts, *(str(one.value) for one in common))",
        CERTIFICATES + "test_a_client_has_the_names_of_its_certificate",
    ),
    Mutant(
        "tls: values show their keys",
        "src/penstock/transport/certificates.py",
        "key: bytes | None = field(default=None, repr=False)",
        "key: bytes | None = field(default=None)",
        "tests/pure/tls/test_certificates.py::test_what_is_read_is_what_the_files_hold",
    ),
    Mutant(
        "tls: tokens go over networks as they are",
        "src/penstock/client/access.py",
        "if not is_here(self.target):",
        "if False:",
        CLIENT + "test_what_cannot_be_is_refused_at_once",
    ),
    Mutant(
        "tls: clients keep the certificate that they began with",
        "src/penstock/client/access.py",
        "if stamps == self._stamps:",
        "if True:",
        CLIENT + "test_new_files_are_taken_up_and_nothing_fails",
    ),
    Mutant(
        "tls: Redis is whoever answers",
        "scheduler/store/entry.py",
        "            certificates.believe(made, found.authorities)",
        "            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE",
        STORES + "test_a_server_is_believed_by_its_authority_and_its_name",
    ),
    Mutant(
        "tls: connections keep the password that they began with",
        "scheduler/store/entry.py",
        "while self._password_file is not None:",
        "while False:",
        STORES + "test_passwords_and_certificates_change_without_a_failed_command",
    ),
]
