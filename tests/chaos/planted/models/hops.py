"""Faults to plant where stages of a language model hop from machine to machine."""

from chaos.planted.fault import Mutant

SERVER = "workers/serve/language/stage_server.py"
STREAMS = "workers/serve/language/hop_streams.py"
HOPS = "tests/grpc/test_hop_streams.py::"
WHO = "tests/grpc/test_hop_certificates.py::"
PLACED = "tests/pure/scheduler/test_placement_groups.py::"

BETWEEN_MACHINES = [
    Mutant(
        "a hop: what has an epoch that nobody knows waits to be computed",
        SERVER,
        "if content[:_EPOCH_BYTES] != self._epoch:",
        "if False:",
        HOPS + "TestBounds::test_what_has_an_epoch_that_nobody_knows_is_dropped",
    ),
    Mutant(
        "a hop: more messages than a head sends wait to be computed",
        SERVER,
        "if caller.waiting > _MOST_WAITING:",
        "if False:",
        HOPS + "TestBounds::test_more_messages_than_a_head_sends_end_its_stream",
    ),
    Mutant(
        "a hop: that it has ended between two later stages is known to nobody",
        SERVER,
        'may not see from where it is."""\n        self._head.hang_up()\n',
        'may not see from where it is."""\n',
        HOPS + "test_a_hop_between_two_later_stages_that_ends_breaks_the_group",
    ),
    Mutant(
        "a hop: a frame is sent again",
        STREAMS,
        "            await to_the_end(self._call.write(await self._unsent.get()))\n",
        "            frame = await self._unsent.get()\n"
        "            await to_the_end(self._call.write(frame))\n"
        "            await to_the_end(self._call.write(frame))\n",
        HOPS + "test_frames_arrive_once_and_in_order_or_the_stream_ends",
    ),
    Mutant(
        "a hop: what a peer does not take is kept for it",
        STREAMS,
        "if self._unsent.qsize() >= _MOST_UNSENT:",
        "if False:",
        HOPS + "TestBounds::test_a_peer_that_takes_nothing_is_hung_up_on",
    ),
    Mutant(
        "a hop: a message may have any size",
        STREAMS,
        'yield "grpc.max_receive_message_length", most_bytes',
        'yield "grpc.max_receive_message_length", -1',
        HOPS + "TestBounds::test_a_message_larger_than_any_can_be_ends_its_stream",
    ),
    Mutant(
        "a hop: a machine that is gone is waited for for a minute",
        STREAMS,
        'yield "grpc.http2.ping_timeout_ms", silence_ms',
        'yield "grpc.http2.ping_timeout_ms", 60_000',
        HOPS + "test_a_machine_that_says_nothing_any_more_is_missed_by_both_sides",
    ),
    Mutant(
        "a hop: strangers without a certificate are let in",
        STREAMS,
        "server_credentials(own, required=True)",
        "server_credentials(own, required=False)",
        WHO + "TestStrangers",
    ),
    Mutant(
        "a hop: one with another name is let in",
        STREAMS,
        "if self._name is not None and self._name.encode() not in names:",
        "if False:",
        WHO + "test_a_name_that_all_certificates_have_stands_for_their_addresses",
    ),
    Mutant(
        "a hop: one of another release is spoken with",
        STREAMS,
        "if (_FORMAT_KEY, FORMAT) not in tuple(context.invocation_metadata() or ()):",
        "if False:",
        WHO + "TestStrangers::test_one_of_another_release_is_refused",
    ),
    Mutant(
        "a hop: a new certificate is never shown",
        "src/penstock/transport/server_credentials.py",
        "if made is certificates.current:",
        "if True:",
        WHO + "test_certificates_that_change_count_for_the_next_stream",
    ),
    Mutant(
        "a hop: whoever reaches the port needs no certificate",
        "src/penstock/setting_types.py",
        "if not (self.insecure or any(files) or is_loopback(self.hop_host)):",
        "if False:",
        "tests/pure/kernel/test_settings.py"
        "::TestHops::test_who_can_be_reached_from_other_machines_has_certificates",
    ),
    Mutant(
        "a hop: heads of two machines swap their stages",
        "workers/serve/language/members.py",
        "bool(worker.hop_address) and _is_mate(worker, own)",
        "bool(worker.hop_address)",
        "tests/pure/language/test_hops.py"
        "::test_on_other_machines_a_head_asks_those_alone_that_were_placed_together_with_it",
    ),
    Mutant(
        "a shared group: it stays where its nodes do not reach each other any more",
        "scheduler/decisions/placement.py",
        "if len(there) < len(unit) or not ledger.reach_each_other(nodes):",
        "if len(there) < len(unit):",
        PLACED + "test_a_shared_group_does_not_stay_where_its_nodes_reach_each_other_no_more",
    ),
    Mutant(
        "a shared group: nodes have it that others do not reach",
        "scheduler/decisions/ledger.py",
        "return node.host if is_loopback(node.hop_host) else _FAR",
        "return _FAR",
        PLACED + "test_nodes_that_others_reach_on_their_own_machine_alone_share_groups_there",
    ),
]
