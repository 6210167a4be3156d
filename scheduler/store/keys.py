"""Every key that Penstock keeps in Redis; docs/redis.md has the same list in prose.

All keys of a job share one hash tag, ``{pNN}``: a script touches one slot only, and is atomic on
Redis Cluster too. It is given the beginning of them all, and makes them from it; a test holds that
they are these. A *family* is the common beginning of keys whose last part is found in the data (a
job id, a gateway, a queue name).
"""

import zlib
from functools import cache, lru_cache

ROOT = "penstock"
REGISTRY_TAG = "{registry}"


@lru_cache(maxsize=4096)
def partition_of(model: str, partitions: int) -> int:
    """The partition that holds the model's jobs; fixed by its name."""
    return zlib.crc32(model.encode()) % partitions


def partition_tag(partition: int) -> str:
    """The hash tag shared by all keys of a partition."""
    return f"{{p{partition:02d}}}"


class PartitionKeys:
    """The keys of one partition."""

    def __init__(self, partition: int) -> None:
        self.tag = partition_tag(partition)
        self.prefix = start = f"{ROOT}:{self.tag}:"
        self.lease = start + "lease"
        self.deadline = start + "deadline"
        self.delay = start + "delay"
        self.moving = start + "moving"
        self.live_bytes = start + "volume"
        self.gateways = start + "gateways"
        self.grace = start + "grace"
        self.dead = start + "dead"
        self.events = start + "events"
        self.idle = start + "idle"
        self.used = start + "used"
        # Families: the last part is a job id, a gateway, a worker, a queue, a sequence or a model
        # version.
        self.jobs = start + "job:"
        self.replies = start + "reply:"
        self.ended = start + "ended:"
        self.ready = start + "ready:"
        self.bells = start + "bell:"
        self.stats = start + "stats:"
        self.usage = start + "usage:"
        self.claims = start + "claim:"
        self.noted = start + "noted:"
        self.letters = start + "letter:"
        self.batch_times = start + "tempo:"
        self.custom_metrics = start + "metrics:"
        self.work_done = start + "worked:"
        # Among the replies, so that whatever ends a job finds them there (lua/lib/share.lua).
        self.shared = start + "reply:~"
        self.requests = start + "request:"
        self.kept = start + "reply:="
        self.kept_bytes = start + "reply:#"
        self.sequences = start + "sequence:"
        self.turns = start + "turns:"
        self.slots = start + "slots:"
        self.backlogs = start + "backlog:"

    def __repr__(self) -> str:
        return f"PartitionKeys({self.tag})"


@cache
def partition_keys(partition: int) -> PartitionKeys:
    """The keys of *partition*; built once."""
    return PartitionKeys(partition)


# registry


class RegistryKeys:
    """What is deployed and what is running; one hash slot for all of it."""

    tag = REGISTRY_TAG
    prefix = f"{ROOT}:{REGISTRY_TAG}:"
    keyspace = f"{ROOT}:{REGISTRY_TAG}:keyspace"
    versions = f"{ROOT}:{REGISTRY_TAG}:versions"
    outgoing = f"{ROOT}:{REGISTRY_TAG}:retiring"
    since = f"{ROOT}:{REGISTRY_TAG}:since"
    available = f"{ROOT}:{REGISTRY_TAG}:offers"
    offered = f"{ROOT}:{REGISTRY_TAG}:offered"
    load_requests = f"{ROOT}:{REGISTRY_TAG}:wishes"
    load_results = f"{ROOT}:{REGISTRY_TAG}:answers"
    used = f"{ROOT}:{REGISTRY_TAG}:used"
    uses = f"{ROOT}:{REGISTRY_TAG}:uses"
    files = f"{ROOT}:{REGISTRY_TAG}:files"
    contents = f"{ROOT}:{REGISTRY_TAG}:content:"
    placements = f"{ROOT}:{REGISTRY_TAG}:placements"
    revision = f"{ROOT}:{REGISTRY_TAG}:revision"
    nodes = f"{ROOT}:{REGISTRY_TAG}:nodes"
    workers = f"{ROOT}:{REGISTRY_TAG}:workers"
    gateways = f"{ROOT}:{REGISTRY_TAG}:gateways"
    schedulers = f"{ROOT}:{REGISTRY_TAG}:schedulers"
    seen = f"{ROOT}:{REGISTRY_TAG}:seen"
    schemas = f"{ROOT}:{REGISTRY_TAG}:schemas"
    signatures = f"{ROOT}:{REGISTRY_TAG}:signatures"
    batch_proofs = f"{ROOT}:{REGISTRY_TAG}:batch_proofs"
    unsplittable = f"{ROOT}:{REGISTRY_TAG}:unsplittable"
    footprints = f"{ROOT}:{REGISTRY_TAG}:footprints"
    rebuilds = f"{ROOT}:{REGISTRY_TAG}:rebuilds"
    settings = f"{ROOT}:{REGISTRY_TAG}:settings"
    access_keys = f"{ROOT}:{REGISTRY_TAG}:access_keys"
    audit = f"{ROOT}:{REGISTRY_TAG}:audit"
    teller = f"{ROOT}:{REGISTRY_TAG}:teller"
    changes = f"{ROOT}:{REGISTRY_TAG}:changes"
