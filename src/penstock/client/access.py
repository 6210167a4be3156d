"""How a client gets in: TLS or not, whom it believes, how it proves who it is, and its token.

Files are read again when they change, at most a second later; a new channel takes the place of the
old one, on which what has begun goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import grpc

from penstock.client.channel import Metadata, scheme_of, target_of
from penstock.client.handshakes import obstacle
from penstock.clock import monotonic
from penstock.errors import InvalidConfiguration
from penstock.transport import certificates
from penstock.transport.addresses import is_here, proxy_options
from penstock.transport.certificates import CertificateFiles, Names
from penstock.transport.credentials import Credentials

_LOOK_EVERY_S: Final = 1.0
_MOST_TOKEN_BYTES: Final = 1 << 14
_ENCRYPTED: Final = ("grpcs", "https")
_CONNECT: Final = "grpc.min_reconnect_backoff_ms"
_CONNECT_MS: Final = 5000
"""How long connecting may take, in gRPC's words: handshakes go back and forth."""

_ADDRESSES: Final = ("ipv4:", "ipv6:")
_PLAIN: Final = ("grpc", "http")

ARGUMENTS: Final = Names("cert", "key", "ca")
"""What the arguments are called in Python."""

FilePath = str | Path


@final
class Access:
    """How one client gets in.

    Attributes:
        target: where it connects, as gRPC writes it.
        secure: over TLS.
        server_name: that must be in the gateways' certificates; None for the host of the address.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        ca: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        token: str | Path | None = None,
        server_name: str | None = None,
        names: Names = ARGUMENTS,
    ) -> None:
        """As `penstock.client.Client`; *names* are what people call its arguments.

        Raises:
            InvalidConfiguration: it cannot be; with what to do.
        """
        scheme = scheme_of(urls)
        self.target = target_of(urls)
        self._files = CertificateFiles(names, *(Path(f) if f else None for f in (cert, key, ca)))
        self.secure = scheme in _ENCRYPTED or (not scheme and bool(self._files.given()))
        self.server_name = server_name
        self._token = token
        self._looked_s = monotonic()
        self._stamps = self._stamp()
        self._bearer = self._read_token()
        if self._files.given() and not self.secure:
            raise InvalidConfiguration(
                f"{scheme}:// is without TLS, where {', '.join(names)} mean nothing: write "
                f"{scheme}s://, or leave them out"
            )
        if token is not None and not self.secure and scheme not in _PLAIN:
            self._check_nobody_listens()
        if self.secure and server_name is None and "," in self.target:
            raise InvalidConfiguration(
                "several gateways over TLS need server_name: the name that all of their "
                "certificates have"
            )

    @classmethod
    def of(cls, url: str, given: Credentials, names: Names = ARGUMENTS) -> "Access":
        """How those who have what is *given* get in at *url*.

        Raises:
            InvalidConfiguration: they do not.
        """
        token = Path(given.token_file) if given.token_file else given.token
        return cls(url, ca=given.ca, cert=given.cert, key=given.key, token=token, names=names)

    def changed(self) -> bool:
        """Whether a file has become another since it was looked at: a new channel has its content.

        Raises:
            InvalidConfiguration: it cannot be used, and there is no old content to go on with.
        """
        now_s = monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return False
        self._looked_s = now_s
        stamps = self._stamp()
        if stamps == self._stamps:
            return False
        try:
            self._bearer = self._read_token()
            certificates.read(self._files)
        except InvalidConfiguration:
            # Of two files, one may be replaced a moment before the other: looked at again.
            return False
        self._stamps = stamps
        return self.secure

    def metadata(self, own: Metadata | None = None) -> Metadata | None:
        """*own*, and what says who asks."""
        return own if self._bearer is None else (*(own or ()), self._bearer)

    def channel(self, *options: tuple[str, int | str]) -> grpc.Channel:
        """A channel with *options*.

        Raises:
            InvalidConfiguration: a file cannot be used.
        """
        given = self._options(options)
        if not self.secure:
            return grpc.insecure_channel(self.target, options=given)
        return grpc.secure_channel(self.target, self._credentials(), options=given)

    def aio_channel(self, *options: tuple[str, int | str]) -> grpc.aio.Channel:
        """As `channel`, for the event loop that runs."""
        given = self._options(options)
        if not self.secure:
            return grpc.aio.insecure_channel(self.target, options=given)
        return grpc.aio.secure_channel(self.target, self._credentials(), options=given)

    def obstacle(self) -> str | None:
        """Why a gateway that is there does not let this client in; None where nobody knows."""
        host, _, port = self.target.partition(":")[2].partition(",")[0].rpartition(":")
        if not self.target.startswith(_ADDRESSES):
            host, _, port = self.target.rpartition(":")
        if not port.isdigit() or "/" in host:
            return None
        host = host.strip("[]")
        try:
            found = certificates.read(self._files) if self.secure else None
        except InvalidConfiguration as error:
            return str(error)
        return obstacle((host, int(port)), found, self.server_name or host, self._files.names)

    def _options(self, options: Sequence[tuple[str, int | str]]) -> list[tuple[str, int | str]]:
        given = {**dict(proxy_options(self.target)), **dict(options)}
        if self.secure and _CONNECT in given:
            given[_CONNECT] = _CONNECT_MS
        if self.secure and self.server_name is not None:
            given["grpc.ssl_target_name_override"] = self.server_name
            given["grpc.default_authority"] = self.server_name
        return [*given.items()]

    def _credentials(self) -> grpc.ChannelCredentials:
        found = certificates.read(self._files)
        return grpc.ssl_channel_credentials(found.authorities, found.key, found.chain)

    def _stamp(self) -> certificates.Stamp:
        token = self._token if isinstance(self._token, Path) else None
        files = CertificateFiles(self._files.names, token)
        return (*certificates.stamp(self._files), *certificates.stamp(files))

    def _read_token(self) -> tuple[str, str] | None:
        if self._token is None:
            return None
        token = self._token
        if isinstance(token, Path):
            token = _content(token)
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise InvalidConfiguration("the token is none: it is one word in ASCII")
        return "authorization", f"Bearer {token}"

    def _check_nobody_listens(self) -> None:
        """Keep tokens from networks in which everybody could read them."""
        if not is_here(self.target):
            raise InvalidConfiguration(
                f"a token to {self.target} would be for everybody on the way to read: use TLS "
                "(grpcs://); where something else encrypts, grpc:// in front of the address says so"
            )


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(_MOST_TOKEN_BYTES).decode("ascii", "replace")
    except OSError as error:
        # Not its name: it may be the token itself, by mistake.
        raise InvalidConfiguration(
            f"the file with the token cannot be read: {error.strerror}; a token is given in a file "
            "that only you may read, or in the variable PENSTOCK_TOKEN, and never on a command "
            "line, which everybody on this machine can read"
        ) from None
