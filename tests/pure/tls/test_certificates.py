"""Certificates in files: what is wrong with them is told with what to do."""

import pytest
from cryptography.hazmat.primitives import serialization
from support.authority import Authority

from penstock.errors import InvalidConfiguration
from penstock.transport.certificates import CertificateFiles, Names, as_files, read, stamp

NAMES = Names("--cert", "--key", "--ca")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def pair(authority):
    return authority.server()


def encrypted(file):
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    cipher = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.TraditionalOpenSSL
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, cipher))


def complaint(*files):
    with pytest.raises(InvalidConfiguration) as raised:
        read(CertificateFiles(NAMES, *files))
    return str(raised.value)


def test_what_is_read_is_what_the_files_hold(authority, pair):
    found = read(CertificateFiles(NAMES, *pair, authority.path))

    assert (found.chain, found.key, found.authorities) == (
        pair.certificate.read_bytes(),
        pair.key.read_bytes(),
        authority.pem,
    )
    # Logs and errors may show a value.
    assert "PRIVATE" not in repr(found)
    with as_files(found) as held:
        assert held.key.read_bytes() == found.key
    assert not held.key.exists()


def test_authorities_alone_will_do(authority):
    assert read(CertificateFiles(NAMES, authorities=authority.path)).key is None


def test_a_certificate_without_a_key_is_refused(pair):
    assert "--cert needs --key" in complaint(pair.certificate)
    assert "--key needs --cert" in complaint(None, pair.key)


def test_a_file_that_is_not_there_is_named(tmp_path, pair):
    text = complaint(tmp_path / "none.pem", pair.key)

    assert f"--cert: {tmp_path / 'none.pem'} cannot be read: No such file or directory" in text


def test_a_key_of_another_certificate_is_refused(authority, pair):
    other = authority.issue("other", "elsewhere")

    assert "is not that of the certificate" in complaint(pair.certificate, other.key)


def test_a_key_with_a_password_is_refused_with_the_command_that_takes_it_off(pair):
    encrypted(pair.key)

    assert "is encrypted" in (text := complaint(*pair))
    assert "openssl pkey -in" in text


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"a certificate"])
def test_what_is_no_pem_is_refused(pair, content):
    pair.certificate.write_bytes(content)

    assert "-----BEGIN CERTIFICATE-----" in complaint(*pair)


def test_a_damaged_certificate_is_refused_by_its_option(authority, pair):
    lines = pair.certificate.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], *lines[2:]])
    pair.certificate.write_bytes(damaged)
    assert "--cert, --key: " in complaint(*pair)

    authority.path.write_bytes(damaged)
    assert "--ca: " in complaint(None, None, authority.path)


def test_a_file_that_is_replaced_has_another_stamp(authority, pair):
    files = CertificateFiles(NAMES, *pair)
    before = stamp(files)
    assert stamp(files) == before

    pair.become(authority.issue("next", "localhost"))
    assert stamp(files) != before
    pair.key.unlink()
    assert None in stamp(files)
