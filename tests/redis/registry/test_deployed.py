"""The registry: what is deployed, and what workers found about it."""

import asyncio

import pytest
from support.records import placement, signature, stage, version, worker
from support.registry import kinds

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.artifact_facts import ArtifactFacts
from penstock.scheduler.registry.snapshot import VersionId, footprint_id, signature_id

# signatures


async def test_a_signature_outlives_the_worker_that_found_it(registry):
    found, placed = signature([pb.TensorSpec(name="x", datatype="FP32")], []), placement()
    await registry.publish("repository", [version(stage(fingerprint="f"), model="m")])
    await registry.announce(worker(placed), facts=ArtifactFacts(found))
    await registry.withdraw(worker(placed))
    snapshot = await registry.snapshot()
    await registry.sweep(snapshot)

    published = snapshot.versions[VersionId("m", 1)]
    assert snapshot.signature_of(published, published.stages[0]) == found
    assert (await registry.snapshot()).signatures == snapshot.signatures


async def test_a_signature_goes_with_the_artifact(registry):
    found = signature([], [])
    await registry.publish("repository", [version(stage(fingerprint="old"), model="m")])
    await registry.announce(worker(placement(fingerprint="old")), facts=ArtifactFacts(found))
    await registry.withdraw(worker(placement(fingerprint="old")))
    await registry.publish("repository", [version(stage(fingerprint="new"), model="m")])
    before = await registry.snapshot()
    await registry.sweep(before)

    assert list(before.signatures) == [signature_id("m", 1, 0, "old")]
    assert not (await registry.snapshot()).signatures


# batch proofs


async def found(registry, node_id, proof=None, unsplittable="", footprint=0):
    """What stands after a worker on that node has said what it found."""
    facts = ArtifactFacts(signature([], []), proof, unsplittable, footprint)
    return await registry.announce(worker(placement(node_id)), facts=facts)


async def test_of_two_batch_proofs_the_first_stands(links, registry):
    """A configuration that is completed from them must not change to and fro."""
    proved, refuted = pb.BatchProof(proved=True, why="equal"), pb.BatchProof(why="they differ")
    record = version(model="m")
    await registry.publish("repository", [record])

    first = [await found(registry, "a", proved), await found(registry, "b", refuted)]
    events = len(await kinds(links))
    again = [await found(registry, "a", proved), await found(registry, "b", refuted)]

    assert [one.proof for one in (*first, *again)] == [proved] * 4
    assert (await registry.snapshot()).batch_proof_of(record, record.stages[0]) == proved
    assert len(await kinds(links)) == events


async def test_a_worker_that_tried_nothing_says_nothing(registry):
    """As one of an older release."""
    record = version(model="m")

    assert (await found(registry, "a")).proof is None
    assert (await registry.snapshot()).batch_proof_of(record, record.stages[0]) is None


async def test_a_batch_that_could_not_be_split_is_told_to_all_who_have_the_artifact(registry):
    record = version(model="m")
    await registry.publish("repository", [record])

    before = await found(registry, "a")
    await found(registry, "b", unsplittable="no rows")

    assert before.unsplittable == ""
    assert (await found(registry, "a")).unsplittable == "no rows"
    assert (await registry.snapshot()).unsplittable_of(record) == "no rows"


async def test_of_what_workers_hold_the_most_counts(links, registry):
    record = version(model="m")
    await registry.publish("repository", [record])
    place = footprint_id(record, record.stages[0], "cpu")

    for footprint in (0, 70, 90, 80):
        await found(registry, "a", footprint=footprint)
    events = len(await kinds(links))
    await found(registry, "b", footprint=60)

    assert (await registry.snapshot()).footprints == {place: 90}
    assert len(await kinds(links)) <= events + 1


async def test_what_is_known_of_batches_goes_with_the_artifact(registry):
    await found(registry, "a", pb.BatchProof(proved=True), "no rows", 70)
    await registry.withdraw(worker(placement("a")))
    before = await registry.snapshot()
    await registry.sweep(before)
    after = await registry.snapshot()

    assert (len(before.batch_proofs), len(before.unsplittable)) == (1, 1)
    assert (after.batch_proofs, after.unsplittable, after.footprints) == ({}, {}, {})


# versions


async def test_what_a_source_publishes_replaces_what_it_had(links, registry):
    one, two, three = (version(model="m", number=number) for number in (1, 2, 3))
    changed = version(model="m", number=2, replicas=5)

    counts = [
        await registry.publish("repository", [one, two]),
        await registry.publish("repository", [one, two]),
        await registry.publish("repository", [changed, three]),
    ]

    assert counts == [2, 0, 3]
    snapshot = await registry.snapshot()
    assert snapshot.versions_of("m") == [changed, three]
    assert sorted((await kinds(links))[2:]) == [
        "version.published",
        "version.published",
        "version.removed",
    ]


async def test_sources_do_not_remove_each_others_versions(registry):
    await registry.publish("a", [version(model="of-a")])
    await registry.publish("ab", [version(model="of-ab")])
    await registry.publish("a", [])

    assert list((await registry.snapshot()).versions) == [VersionId("of-ab", 1)]


async def test_of_two_sources_the_first_by_name_has_the_version(registry):
    await registry.publish("b", [version(model="m", replicas=2)])
    await registry.publish("a", [version(model="m", replicas=1)])

    assert (await registry.snapshot()).versions[VersionId("m", 1)].replicas == 1


async def test_a_source_has_no_slash(registry):
    with pytest.raises(ValueError, match="no slash"):
        await registry.publish("a/b", [])


# placements


async def test_a_plan_replaces_the_one_before(registry):
    first, second = placement("n", device="cpu:0"), placement("n", 1, device="cpu:1")

    assert await registry.place(0, [first, second]) == 1
    assert await registry.place(1, [second]) == 2
    snapshot = await registry.snapshot()
    assert (snapshot.revision, snapshot.placements) == (2, (second,))


async def test_a_plan_made_from_an_older_one_is_refused(links, registry):
    await registry.place(0, [placement("first")])

    assert await registry.place(0, [placement("late")]) is None
    assert await registry.place(7, [placement("early")]) is None
    assert [one.node for one in (await registry.snapshot()).placements] == ["first"]
    assert await kinds(links) == ["placement.changed"]


async def test_of_many_plans_at_once_one_is_taken(registry):
    load_results = await asyncio.gather(
        *(registry.place(0, [placement(f"n{i}")]) for i in range(9))
    )

    assert sorted(answer or 0 for answer in load_results) == [0] * 8 + [1]


# how lost caches of language models come back


async def seen(registry, node_id, domain, rebuild):
    record = worker(placement(node_id))
    record.numeric_domain = domain
    await registry.announce(record, facts=ArtifactFacts(signature([], []), rebuild=rebuild))


async def test_what_a_worker_saw_of_a_cache_is_known_of_its_processor_and_of_no_other(
    links, registry
):
    record = version(model="m")
    await registry.publish("repository", [record])
    await seen(registry, "a", "this @ 2 GHz, 1 thread", "prefill")
    await seen(registry, "b", "that, 2 threads", "none")
    events = len(await kinds(links))
    await seen(registry, "a", "this @ 2 GHz, 1 thread", "prefill")
    await seen(registry, "a", "this @ 2 GHz, 1 thread", "replay")
    await seen(registry, "c", "a third", "")

    known = await registry.snapshot()
    domains = "this @ 2 GHz, 1 thread", "that, 2 threads", "a third"
    assert [known.rebuild_of(record, record.stages[0], domain) for domain in domains] == [
        *("prefill", "none"),
        None,
    ]
    assert len(await kinds(links)) <= events + 2


async def test_what_was_seen_of_a_cache_goes_with_the_artifact(registry):
    record = version(model="m2")
    other = worker(placement("b", model="m2"))
    other.numeric_domain = "this"
    await registry.publish("repository", [record])
    await registry.announce(other, facts=ArtifactFacts(signature([], []), rebuild="prefill"))
    await seen(registry, "a", "this", "prefill")
    await registry.withdraw(worker(placement("a")))
    before = await registry.snapshot()
    await registry.sweep(before)

    assert len(before.rebuilds) == 2
    after = await registry.snapshot()
    assert after.rebuild_of(record, record.stages[0], "this") == "prefill"
    assert len(after.rebuilds) == 1
