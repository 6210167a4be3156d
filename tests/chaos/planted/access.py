"""Faults to plant where it is decided who calls, and what they may."""

from chaos.planted.fault import Mutant

ACCESS = "gateway/access/"
PURE = "tests/pure/gateway/access/"
STORE = "tests/redis/access/"
WALK = STORE + "test_every_call.py"
ANOTHERS = STORE + "test_callers.py"

CALLERS = [
    Mutant(
        "keys: a method without a line in the table is open",
        "gateway/fronts/grpc/access.py",
        "        return _refusing(method, PermissionDenied(",
        "        return method or _refusing(method, PermissionDenied(",
        PURE + "test_needs.py::test_a_method_without_a_line_is_refused_whoever_calls",
    ),
    Mutant(
        "keys: one RPC has no line in the table",
        ACCESS + "needs.py",
        '    "ServerMetadata": Need(Scope.READ),\n',
        "",
        PURE + "test_needs.py::test_each_rpc_that_is_offered_has_its_line",
    ),
    Mutant(
        "keys: a scope is not asked for",
        "gateway/fronts/grpc/access.py",
        "    caller.check_scope(scope)\n",
        "",
        WALK,
    ),
    Mutant(
        "keys: what is about all models is for everybody",
        "gateway/fronts/grpc/access.py",
        "    if need.models is Models.ALL:\n",
        "    if False:\n",
        WALK,
    ),
    Mutant(
        "keys: HTTP does not ask who calls",
        "gateway/fronts/http/app.py",
        "        if need.scope is not None:\n",
        "        if False:\n",
        WALK + "::test_each_route_lets_in_whom_the_table_says_and_nobody_else",
    ),
    Mutant(
        "keys: requests for inference are let in whatever their model",
        "gateway/requests/reading.py",
        "        # Whether or not there is such a model, which is nobody else's business.\n"
        "        call.caller.check_model(request.model_name)\n",
        "",
        ANOTHERS,
    ),
    Mutant(
        "keys: requests that are known by their head are let in whatever their model",
        "gateway/requests/reading.py",
        "            call.caller.check_model(request.model_name)\n            return Asked(",
        "            return Asked(",
        ANOTHERS,
    ),
    Mutant(
        "keys: what is asked of a model is answered to everybody",
        "gateway/fronts/grpc/inference_service.py",
        "            caller.check_model(model)\n",
        "            pass\n",
        WALK,
    ),
    Mutant(
        "keys: lists hold everybody's models",
        "gateway/fronts/grpc/inference_service.py",
        "        if need.listed and not caller.sees_all:\n",
        "        if False:\n",
        STORE + "test_callers.py::test_lists_hold_the_callers_models_alone",
    ),
    Mutant(
        "keys: a secret is not compared",
        ACCESS + "authenticator.py",
        "            if hmac.compare_digest(shown, secret.sha256):\n",
        "            if True:\n",
        PURE + "test_authenticator.py::test_another_secret_of_the_same_key_is_refused",
    ),
    Mutant(
        "keys: a revoked key is good yet",
        ACCESS + "authenticator.py",
        "            if not record.revoked_ms\n",
        "            if True\n",
        PURE + "test_authenticator.py",
    ),
    Mutant(
        "keys: a revoked key keeps its hashes",
        ACCESS + "records.py",
        "    after.revoked_ms = record.revoked_ms or now_ms\n    del after.secrets[:]\n",
        "    after.revoked_ms = record.revoked_ms or now_ms\n",
        PURE + "test_authenticator.py::TestTheEnd::test_a_revoked_key_has_no_hash_on_record",
    ),
    Mutant(
        "keys: streams outlive their key",
        ACCESS + "authenticator.py",
        "            caller.ended = _UNKNOWN\n",
        "            pass\n",
        STORE + "test_callers.py::test_an_open_stream_ends_with_its_key",
    ),
    Mutant(
        "keys: two credentials are as good as one",
        ACCESS + "authenticator.py",
        "            if found is not None:\n                raise",
        "            if False:\n                raise",
        PURE + "test_authenticator.py::test_two_credentials_are_none_even_if_both_are_good",
    ),
    Mutant(
        "keys: a lost registry opens the gateway",
        ACCESS + "authenticator.py",
        "        if self.records and not records:\n",
        "        self.asks = bool(records)\n        if self.records and not records:\n",
        PURE + "test_authenticator.py::TestWhenKeysAreAskedFor",
    ),
    Mutant(
        "keys: networks are not looked at",
        ACCESS + "authenticator.py",
        "        if known.networks is not None and not _within(connection, known.networks):\n",
        "        if False:\n",
        PURE + "test_authenticator.py::TestNetworks",
    ),
    Mutant(
        "keys: a gateway that all can reach starts without keys",
        ACCESS + "exposure.py",
        "    if exposed and missing:\n",
        "    if False:\n",
        PURE + "test_exposure.py",
    ),
    Mutant(
        "keys: two who change a key at once both win",
        "scheduler/lua/registry_change_key.lua",
        "if there ~= ARGV[2] then\n",
        "if false then\n",
        STORE + "test_access_keys.py::test_of_two_who_change_a_key_at_once_one_is_told",
    ),
    Mutant(
        "keys: callers share replies",
        "scheduler/jobs/shared_replies.py",
        '    return f"/{caller}/" if caller else ""\n',
        '    return ""\n',
        STORE + "test_callers.py",
    ),
    Mutant(
        "keys: callers share sequences",
        "gateway/requests/infer.py",
        "turn_of(asked.request, job.rows, plan, asked.call.caller.name)",
        "turn_of(asked.request, job.rows, plan)",
        STORE + "test_callers.py::test_teams_have_sequences_of_their_own",
    ),
    Mutant(
        "keys: an entry of the audit log is put before another",
        "scheduler/lua/registry_audit.lua",
        "if hash ~= ARGV[1] then\n",
        "if false then\n",
        STORE + "test_audit.py::test_many_who_write_at_once_all_find_their_place",
    ),
    Mutant(
        "keys: what was given up is in no audit log",
        "gateway/operations/auditing.py",
        "            await asyncio.shield(task)\n",
        "            task.cancel()\n",
        STORE + "test_audit.py::test_an_act_that_its_caller_gave_up_is_written_down",
    ),
    Mutant(
        "keys: a team's usage counts again when an answer was lost",
        "scheduler/lua/settle.lua",
        "  if not is_held(j, token) then\n",
        "  if j.caller then\n    use(version, j.caller, {1, 0, 0, 0, 0, 0})\n  end\n"
        "  if not is_held(j, token) then\n",
        STORE + "test_usage.py",
    ),
    Mutant(
        "keys: a batch's time counts in full for each of its callers",
        "scheduler/lua/settle.lua",
        "took[2] / 1000 * j.rows / rows",
        "took[2] / 1000",
        STORE + "test_usage.py::test_a_batch_is_parted_among_its_callers_by_their_rows",
    ),
    Mutant(
        "keys: there may be any number of callers",
        "scheduler/lua/lib/usage.lua",
        "if not packed and redis.call('HLEN', key) >= MOST_CALLERS then",
        "if false then",
        STORE + "test_usage.py::test_there_are_only_so_many_callers",
    ),
    Mutant(
        "keys: tokens for others are good here",
        ACCESS + "tokens.py",
        '            aud={"essential": True, "value": terms.audience},\n',
        "",
        PURE + "test_tokens.py",
    ),
    Mutant(
        "keys: a token may be signed by any algorithm",
        ACCESS + "tokens.py",
        "algorithms=list(terms.algorithms)",
        "algorithms=list(ALGORITHMS)",
        PURE + "test_tokens.py::test_an_algorithm_that_was_not_named_is_not_believed",
    ),
    Mutant(
        "keys: a token that is known is good for ever",
        ACCESS + "tokens.py",
        "        if now_s > caller.expires_s:\n",
        "        if False:\n",
        PURE + "test_tokens.py::test_a_known_token_expires_in_time",
    ),
    Mutant(
        "keys: administration is served at every port",
        "gateway/fronts/grpc/access.py",
        "    if elsewhere and scope in ADMINISTRATION:\n",
        "    if False:\n",
        STORE + "test_admin_port.py",
    ),
]
