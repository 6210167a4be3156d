"""The types of settings, and those of callers, connections and the store."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from penstock.clock import LONGEST_MS
from penstock.errors import InvalidConfiguration
from penstock.options import Metavar, Options
from penstock.transport.addresses import is_loopback, is_wildcard
from penstock.transport.certificates import CertificateFiles, Names
from penstock.transport.store_files import NEED_URL, StoreFiles, with_files


def _paths(value: object) -> object:
    """Several paths, from one text as in PATH, or from one path."""
    if isinstance(value, str):
        return [part for part in value.split(os.pathsep) if part]
    return [value] if isinstance(value, Path) else value


def _bare(value: object) -> object:
    """An IPv6 address without the brackets that it has in front of a port."""
    return value.removeprefix("[").removesuffix("]") if isinstance(value, str) else value


def _names(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _port_range(value: object) -> object:
    """The first and the last port of a range, held together by a hyphen."""
    if isinstance(value, str):
        first, _, last = value.partition("-")
        ports = [int(one) if one.isdecimal() else 0 for one in (first, last or first)]
        if not 0 < ports[0] <= ports[1] <= _MOST_PORT:
            raise ValueError("this is no port, and no range of ports such as 40000-40031")
    return value


def _rules(value: Any) -> Any:
    """Restricted protocols, from one text."""
    if not isinstance(value, str):
        return value
    # A list in JSON, as processes hand it on, may hold semicolons.
    if value.startswith("["):
        return json.loads(value)
    return [part for part in value.split(";") if part]


_MOST_PORT = 65535
Port = Annotated[int, Field(ge=0, le=_MOST_PORT)]
PortRange = Annotated[str, BeforeValidator(_port_range), Metavar("FIRST-LAST")]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_MS / 1000, allow_inf_nan=False)]
Int32 = Annotated[int, Field(ge=1, le=2**31 - 1)]
Host = Annotated[str, BeforeValidator(_bare)]
Bytes = Metavar("BYTES")
Word = Annotated[bool, Metavar("BOOL")]
"""A switch that Triton spells with its value: ``--name true``."""

File = Annotated[Path, Metavar("FILE")]
Level = Literal["debug", "info", "warning", "error"]
ControlMode = Literal["none", "poll", "explicit", "on-demand"]
Repositories = Annotated[
    tuple[Path, ...],
    BeforeValidator(_paths),
    Metavar("DIR"),
    Field(description="The model repository; may be given several times."),
]
BY_COMMAS = BeforeValidator(_names)
BY_SEMICOLONS = BeforeValidator(_rules)


class StoreSettings(Options):
    """How the store is reached. What stands here is in the URL as well, which roles hand on."""

    redis_ca: File | None = None
    """Authorities of a rediss:// server's certificate. (default: those that this machine knows)"""

    redis_cert: File | None = None
    """Certificate to prove oneself with to Redis."""

    redis_key: File | None = None
    """Its private key, without a password."""

    redis_password_file: File | None = None
    """A file with the password of Redis, read again when it changes."""

    @model_validator(mode="before")
    @classmethod
    def _in_the_url(cls, given: dict[str, Any]) -> dict[str, Any]:
        fields = ("redis_ca", "redis_cert", "redis_key", "redis_password_file")
        files = StoreFiles(*(Path(given[name]) if given.get(name) else None for name in fields))
        if not any(files):
            return given
        if not given.get("redis"):
            raise InvalidConfiguration(NEED_URL)
        return {**given, "redis": with_files(str(given["redis"]), files)}


class HopSettings(Options):
    """Where workers of a language model's stages are reached from other machines."""

    hop_host: Host | None = None
    """Address of this machine at which workers on other machines reach those of its language
    models' later stages: a group then may have workers on several nodes. (default: it may not)"""

    hop_ports: PortRange | None = None
    """Ports of these workers, of which each takes one that is free. (default: any)"""

    hop_cert: File | None = None
    """Certificate with which this machine's workers prove who they are to those on others, and
    are proved to. Read again when it changes."""

    hop_key: File | None = None
    """Its private key, without a password."""

    hop_ca: File | None = None
    """Authorities of other machines' certificates: whoever has none gets in nowhere."""

    hop_name: str | None = None
    """A name that all these certificates have. (default: each has its --hop-host)"""

    insecure: bool = False
    """Let workers on other machines in without certificates."""

    def hop_files(self) -> CertificateFiles | None:
        """The files of certificates; None where workers need none."""
        names = Names("--hop-cert", "--hop-key", "--hop-ca")
        files = CertificateFiles(names, self.hop_cert, self.hop_key, self.hop_ca)
        return files if files.given() else None

    @model_validator(mode="after")
    def _refuse_what_cannot_be(self) -> Self:
        files = self.hop_cert, self.hop_key, self.hop_ca
        if any(files) and not all(files):
            raise InvalidConfiguration(
                "--hop-cert, --hop-key and --hop-ca are given together: workers on both machines "
                "prove who they are"
            )
        if self.hop_name is not None and not any(files):
            raise InvalidConfiguration("--hop-name is in certificates: give --hop-cert as well")
        if self.hop_host is None:
            if any(files) or self.hop_ports is not None:
                raise InvalidConfiguration(
                    "--hop-cert and --hop-ports need --hop-host: the address of this machine at "
                    "which others reach its workers"
                )
            return self
        if is_wildcard(self.hop_host):
            raise InvalidConfiguration(
                f"--hop-host {self.hop_host} is no address that others can call: name the one at "
                "which they reach this machine"
            )
        if not (self.insecure or any(files) or is_loopback(self.hop_host)):
            raise InvalidConfiguration(
                f"--hop-host {self.hop_host} can be reached from other machines, and everybody "
                "there could call it, and read all of it on the way: give --hop-cert, --hop-key "
                "and --hop-ca. Or serve at 127.0.0.1; or say --insecure, where nobody else can "
                "reach this network"
            )
        return self


class CallerSettings(Options):
    """Who may call a gateway, or `penstock up`."""

    auth: Literal["auto", "keys", "none"] = "auto"
    """Who may call. keys: whoever has a key ('penstock keys create' makes one). auto: everybody,
    until there has been a key. none: everybody, whatever keys there are."""

    jwt_jwks: Annotated[str, Metavar("FILE|URL")] | None = None
    """The public keys of an identity provider, a JWKS file or URL: its tokens let callers in.
    Needs the extra penstock[jwt]."""

    jwt_issuer: str | None = None
    """The issuer that tokens must name; with --jwt-jwks."""

    jwt_audience: str | None = None
    """The audience that tokens must name; with --jwt-jwks."""

    jwt_algorithms: Annotated[tuple[str, ...], BY_COMMAS, Metavar("NAME")] = ("RS256", "ES256")
    """How tokens may be signed. (default: RS256 and ES256)"""

    jwt_team_claim: str = "sub"
    """The claim that names the caller's team."""

    jwt_scope_claim: str = "scope"
    """The claim with the scopes, such as penstock:infer."""

    jwt_models_claim: str = "penstock_models"
    """The claim with globs of the models; without it they are all."""

    admin_port: Port | None = None
    """Serve gRPC here, too; once callers need keys, models are loaded, dead letters retried, and
    settings changed here alone. (default: all is served at --port)"""

    admin_host: Host = "127.0.0.1"
    """Address of --admin-port."""

    insecure: bool = False
    """Let callers from other machines in without TLS, or without keys."""


class GrpcSettings(Options):
    """How the gRPC server treats connections, by Triton's names."""

    max_connections: Int32 = 10_000
    """Most connections of clients; fewer, where the process may have fewer descriptors."""

    grpc_infer_response_compression_level: Literal["none", "low", "medium", "high"] = "none"
    """Compression of replies to clients that accept it: none, low, medium or high."""

    grpc_restricted_protocol: Annotated[
        tuple[str, ...],
        BY_SEMICOLONS,
        Field(repr=False),
        Metavar("PROTOCOLS:KEY=VALUE"),
    ] = ()
    """Calls of these need the header triton-grpc-protocol-KEY. May be repeated; the variable parts
    rules by semicolons."""

    grpc_keepalive_time: Int32 = 7_200_000
    """ms of silence before the server pings."""

    grpc_keepalive_timeout: Int32 = 20_000
    """ms that it waits for the answer to a ping."""

    grpc_keepalive_permit_without_calls: Word = True
    """true: it pings connections without calls, too."""

    grpc_http2_max_pings_without_data: Natural = 2
    """Most pings that it sends while no data flows; 0 for any number."""

    grpc_http2_min_recv_ping_interval_without_data: Int32 = 1000
    """ms that clients must leave between pings while no data flows."""

    grpc_http2_max_ping_strikes: Natural = 0
    """Early pings before a client is cut off; 0 for any number."""

    grpc_max_connection_age: Int32 | None = None
    """ms until a connection is ended. (default: any)"""

    grpc_max_connection_age_grace: Int32 | None = None
    """ms that its calls have then. (default: any)"""

    grpc_max_connection_idle: Int32 | None = None
    """ms without a call until a connection is ended. (default: any)"""

    grpc_max_concurrent_streams: Int32 = 512
    """Most calls of a connection at a time; more wait with their client."""
