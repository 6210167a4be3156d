"""Faults to plant where an answer of a language model would become another one."""

from chaos.planted.fault import LUA, Mutant

LOGS = "tests/redis/language/test_logs.py::"
ENGINE = "tests/pure/language/test_engine.py::"
ALONE = ENGINE + "test_an_answer_depends_on_nothing_but_its_request"
TEXT = "tests/pure/language/test_answer_text.py::"
SAMPLING = "tests/pure/language/test_sampling.py::"
HOPS = "tests/pure/language/test_hops.py::"
GROUPS = "tests/pure/language/test_groups.py::"
LOGGED = "tests/pure/language/test_token_log.py::"
RESUMED = "tests/pure/gateway/requests/test_resuming.py::"
RESUMABLE = "tests/redis/language/test_resumable.py::"
EXPORT = "tests/pure/exporting/test_export.py::"

ANSWERS = [
    Mutant(
        "an answer: a worker that lost it goes on writing its log",
        LUA + "append.lua",
        "if not is_held(j, token) then",
        "if j.state ~= 'leased' then",
        LOGS + "test_another_worker_goes_on_from_the_log",
    ),
    Mutant(
        "an answer: tokens that are sent again are there twice",
        LUA + "append.lua",
        "if there == bytes + #tokens then",
        "if false then",
        LOGS + "test_tokens_that_are_sent_again_are_there_once",
    ),
    Mutant(
        "an answer: a token of its log is lost, and nobody sees it",
        LUA + "append.lua",
        "elseif there ~= bytes then",
        "elseif there > bytes then",
        LOGS + "test_tokens_that_do_not_go_on_from_the_log_are_not_taken",
    ),
    Mutant(
        "an answer: its log stays behind",
        LUA + "lib/end_job.lua",
        "j.log and JOB .. j.id .. ':log'",
        "nil",
        LOGS + "test_a_log_goes_with_its_job",
    ),
    Mutant(
        "an answer: two deaths in its whole life are its own fault",
        LUA + "append.lua",
        "  if j.alone then\n    redis.call('HDEL', JOB .. id, 'alone', 'crashes')\n  end\n",
        "",
        LOGS + "test_a_worker_may_die_of_an_answer_again_once_that_has_gone_on",
    ),
    Mutant(
        "an answer: what is drawn follows from how often this process has drawn",
        "src/penstock/language/sampling.py",
        "uniform(options.seed or 0, position)",
        "np.random.default_rng().random()",
        SAMPLING + "test_a_token_follows_from_the_request_and_the_log_alone",
    ),
    Mutant(
        "an answer: the seed does not count",
        "src/penstock/language/sampling.py",
        "np.random.Philox(key=seed, counter=position)",
        "np.random.Philox(key=0, counter=position)",
        SAMPLING + "test_what_is_drawn_is_the_same_in_every_release",
    ),
    Mutant(
        "an answer: what moves to another slot leaves its last token's keys behind",
        "workers/language/engine.py",
        "self._model.move(source, hole, self._slots[hole].cached)",
        "self._model.move(source, hole, self._slots[hole].cached - 1)",
        ALONE,
    ),
    Mutant(
        "an answer: a slot that is filled anew keeps what was there",
        "workers/language/engine.py",
        "answer.cached, answer.echoed = 0, []",
        "answer.echoed = []",
        ALONE,
    ),
    Mutant(
        "an answer: its own tokens are never read",
        "workers/language/answer.py",
        "return len(self.prompt) + len(self.log)",
        "return len(self.prompt)",
        EXPORT + "test_stages_answer_as_a_plain_decoder_does",
    ),
    Mutant(
        "an answer: penalties see its last token alone",
        "src/penstock/language/sampling.py",
        "np.unique(np.fromiter(log, np.int64), return_counts=True)",
        "np.unique(np.fromiter(log[-1:], np.int64), return_counts=True)",
        SAMPLING + "test_penalties_are_those_of_openai_and_of_ctrl",
    ),
    Mutant(
        "an answer: a lone head of keys has a lone row",
        "src/penstock/exporting/graphs/attention.py",
        "self._fold = max(self._group, 2)",
        "self._fold = max(self._group, 1)",
        EXPORT + "test_stages_answer_as_a_plain_decoder_does",
    ),
    Mutant(
        "an answer: rotary pairs of llama.cpp's files are taken as they lie",
        "src/penstock/exporting/checkpoints/gguf_checkpoint.py",
        "if turned and architecture.name in _INTERLEAVED:",
        "if False:",
        EXPORT + "test_a_gguf_file_makes_the_same_stages_as_a_folder",
    ),
    Mutant(
        "an answer: half a character is passed on",
        "src/penstock/language/detokenizer.py",
        "if self._is_cut and len(self._held) < _MOST_HELD:",
        "if False:",
        TEXT + "test_a_character_comes_when_its_last_byte_does",
    ),
    Mutant(
        "an answer: a token within a character is taken for one that stands alone",
        "src/penstock/language/detokenizer.py",
        "if not self._is_cut and (text := self._plain(token)) is not None:",
        "if (text := self._plain(token)) is not None:",
        TEXT + "test_what_is_known_of_a_token_alone_changes_no_piece",
    ),
    Mutant(
        "an answer: the beginning of a stop string is passed on",
        "src/penstock/language/stop_strings.py",
        "keep = max((_overlap(text, one) for one in self._stops), default=0)",
        "keep = 0",
        TEXT + "test_pieces_change_nothing_of_what_stop_strings_leave",
    ),
    Mutant(
        "an answer: it goes on from the token before",
        "gateway/requests/language/answer.py",
        "if self.count > self._begin:",
        "if self.count >= self._begin:",
        RESUMED + "test_whoever_goes_on_from_where_they_were_has_the_same",
    ),
    Mutant(
        "an answer: whoever knows its name has another caller's",
        "scheduler/jobs/shared_replies.py",
        'owner = f"{_of(caller)}{model}/{name}"',
        'owner = f"{model}/{name}"',
        RESUMABLE + "test_an_answer_of_the_same_name_is_each_callers_own",
    ),
    Mutant(
        "an answer: who comes later misses what was said before",
        LUA + "join.lua",
        "'GETRANGE', JOB .. job .. ':log', 4 * ARGV[13], -1)",
        "'GETRANGE', JOB .. job .. ':log', 4 * ARGV[13] + 4, -1)",
        RESUMABLE + "test_an_answer_goes_on_at_another_gateway_when_its_own_has_died",
    ),
    Mutant(
        "an answer: it holds its slot for ever when nobody listens",
        LUA + "append.lua",
        "(away_ms > 0 and now_ms - shared.heard > away_ms and not in_grace())",
        "false",
        RESUMABLE + "test_it_goes_on_for_a_client_that_left_and_ends_when_none_comes",
    ),
    Mutant(
        "an answer: whoever waits for it is not heard of",
        LUA + "join.lua",
        "redis.call('HSET', key, 'heard'",
        "redis.call('HSETNX', key, 'heard'",
        RESUMABLE + "test_it_is_not_given_up_while_somebody_listens",
    ),
    Mutant(
        "an answer: text that has ended goes on for who comes later",
        "gateway/requests/language/answer.py",
        "ended = End(at_s=await resumed.conclude())",
        "pass",
        RESUMED + "test_whoever_goes_on_from_where_they_were_has_the_same",
    ),
    Mutant(
        "an answer: tokens that come before their turn are lost until the end",
        "scheduler/requests/token_log.py",
        "self._early[new.at] = new.tokens",
        "pass",
        LOGGED + "test_tokens_that_come_too_early_have_their_turn_once_the_others_are_there",
    ),
    Mutant(
        "an answer: whoever goes on draws by a seed of their own",
        "gateway/requests/language/resuming.py",
        "        return await self._restored(asked, kept)\n\n    async",
        "        return prompted, began_s, True\n\n    async",
        "tests/cluster/language/test_resuming.py"
        "::test_streams_of_a_killed_gateway_go_on_at_another",
    ),
    Mutant(
        "an answer: chunks of one stream tell two times",
        "gateway/fronts/http/openai/answers.py",
        "self._created = self._created or began_s",
        "self._created = began_s",
        "tests/pure/gateway/fronts/openai/test_openai_streams.py",
    ),
    Mutant(
        "an answer: a gateway passes a token on twice",
        "scheduler/requests/token_log.py",
        "self.tokens += tokens[there:]",
        "self.tokens += tokens",
        LOGGED + "test_tokens_that_come_again_or_too_early_change_nothing",
    ),
    Mutant(
        "a group: what is left of it stays on a node that has no room for the rest",
        "scheduler/decisions/placement.py",
        "for want in there:",
        "for want in ():",
        "tests/pure/scheduler/test_placement_groups.py"
        "::test_what_is_left_of_a_group_goes_where_the_rest_has_room",
    ),
    Mutant(
        "a group: what a stage of another epoch sends is computed",
        "workers/language/later.py",
        "if message.epoch != self._epoch or self._epoch == NOBODYS:",
        "if self._epoch == NOBODYS:",
        GROUPS + "test_a_message_of_another_group_changes_nothing",
    ),
    Mutant(
        "a group: the same workers together again are in the epoch of before",
        "workers/language/message.py",
        "json.dumps([*boot_ids, number])",
        "json.dumps([*boot_ids])",
        GROUPS + "test_the_same_workers_together_again_are_another_group",
    ),
    Mutant(
        "a group: a later stage takes an answer for the one that had its slot before",
        "workers/language/later.py",
        "self._answers[change.slot] = change.answer",
        "self._answers.setdefault(change.slot, change.answer)",
        GROUPS + "test_a_slot_that_is_filled_anew_has_nothing_of_the_answer_before",
    ),
    Mutant(
        "a group: what moves to another slot in the first stage stays where it was in the others",
        "workers/language/later.py",
        "                self._stage.move(*change)\n",
        "",
        GROUPS + "test_an_answer_depends_on_nothing_but_its_request",
    ),
    Mutant(
        "a group: a message that was lost is passed over",
        "workers/language/later.py",
        "if message.step != self._step:",
        "if False:",
        GROUPS + "test_a_message_that_is_lost_ends_the_group",
    ),
    Mutant(
        "a group: tokens that the group before was given are this one's",
        "workers/language/head.py",
        "while said.epoch != self._hops.epoch:",
        "while False:",
        GROUPS + "test_tokens_of_another_group_are_none_of_this_one",
    ),
    Mutant(
        "a group: a stage leaves its head for another one",
        "workers/serve/language/stage_server.py",
        "if self._head is not None or self._leaves or",
        "if self._leaves or",
        HOPS + "test_a_stage_has_one_head_at_a_time",
    ),
    Mutant(
        "a group: a stage that was stopped is waited for",
        "workers/serve/language/group.py",
        "if stage.silent_s() > self._silence_s:",
        "if False:",
        HOPS + "test_a_stage_that_is_silent_breaks_its_group",
    ),
    Mutant(
        "a group: a stage ends before its head has given back what it has",
        "workers/serve/language/stage_server.py",
        "                await self._free.wait()\n",
        "                await asyncio.sleep(0)\n",
        HOPS + "test_a_stage_that_is_to_end_is_let_go_of_first",
    ),
    Mutant(
        "a group: stages of one that did not come about are held for ever",
        "workers/serve/language/group.py",
        "        if missing:\n            self.close()\n",
        "",
        HOPS + "test_a_group_lacking_a_stage_holds_none_of_the_others",
    ),
    Mutant(
        "a group: what a broken one had waits for the ends of its leases",
        "workers/serve/language/worker.py",
        "            await self._sink.break_off()\n            raise\n",
        "            raise\n",
        "tests/redis/language/test_group_worker.py"
        "::test_what_a_broken_group_had_goes_on_in_the_next_one",
    ),
    Mutant(
        "a group: whoever ends two of them goes on to the next",
        "workers/serve/language/worker.py",
        "            await self._sink.break_off()\n            raise\n",
        "            for active in self._active.values():\n"
        "                self._sink.give_back(active.token, [active.id])\n"
        "            await self._sink.written()\n            raise\n",
        "tests/redis/language/test_group_worker.py"
        "::test_an_answer_that_ends_two_groups_before_its_first_token_is_set_aside",
    ),
    Mutant(
        "an answer: what is given up is kept without its last tokens",
        LUA + "conclude.lua",
        "if ARGV[3] ~= '' and",
        "if false and",
        "tests/redis/language/test_resumable.py"
        "::test_an_answer_that_is_given_up_is_kept_with_all_that_was_seen_of_it",
    ),
]
