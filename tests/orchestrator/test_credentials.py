"""Where an account's certificate is found, and that nothing tells what is in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from orchestrator.credentials import expires_soon, find_certificate
from orchestrator.errors import BadInput

NAMES = ("SOME_ACCOUNT_CRT", "SOME_ACCOUNT_KEY")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A certificate and its key, as files."""
    folder = Path(tmp_path_factory.mktemp("pem"))
    issued = trustme.CA().issue_cert("dev-1")
    issued.cert_chain_pems[0].write_to_path(str(folder / "client.crt"))
    issued.private_key_pem.write_to_path(str(folder / "client.key"))
    return {"cert": folder / "client.crt", "key": folder / "client.key"}


@pytest.fixture
def in_environment(pem: Mapping[str, Path]) -> Iterator[None]:
    """The PEM texts in the environment of this process."""
    os.environ.update(
        {"SOME_ACCOUNT_CRT": pem["cert"].read_text(), "SOME_ACCOUNT_KEY": pem["key"].read_text()}
    )
    yield
    for name in NAMES:
        os.environ.pop(name, None)


def kubeconfig(folder: Path, user: str) -> Path:
    path = folder / "config"
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: toolforge\n"
        "clusters:\n- name: toolforge\n  cluster: {server: 'https://k8s.example.org:6443'}\n"
        "contexts:\n- name: toolforge\n"
        "  context: {cluster: toolforge, user: tf-dev-1, namespace: tool-dev-1}\n"
        f"users:\n- name: tf-dev-1\n  user: {user}\n"
    )
    return path


def refusal(reference: Mapping[str, str]) -> str:
    with pytest.raises(BadInput) as refused:
        find_certificate("dev-1", reference).fingerprint()
    return str(refused.value)


def test_a_certificate_is_found_by_the_paths_of_its_files(pem: Mapping[str, Path]) -> None:
    found = find_certificate("dev-1", {"cert": str(pem["cert"]), "key": str(pem["key"])})
    assert (found.cert, found.key) == (pem["cert"], pem["key"])


def test_a_certificate_is_found_in_the_kubeconfig_of_a_tool(tmp_path: Path, pem: Mapping[str, Path]) -> None:
    user = f"{{client-certificate: {pem['cert']}, client-key: {pem['key']}}}"
    found = find_certificate("dev-1", {"kubeconfig": str(kubeconfig(tmp_path, user))})
    assert (found.cert, found.key) == (pem["cert"], pem["key"])


@pytest.mark.usefixtures("in_environment")
def test_a_certificate_in_the_environment_is_put_into_files_that_only_we_can_read(
    pem: Mapping[str, Path],
) -> None:
    found = find_certificate("dev-1", {"env": "SOME_ACCOUNT"})
    assert found.key.read_text() == pem["key"].read_text()
    assert found.cert.read_text() == pem["cert"].read_text()
    assert found.key.stat().st_mode & 0o077 == 0
    assert found.key.parent.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("in_environment")
def test_a_certificate_that_was_renewed_in_the_environment_is_used(pem: Mapping[str, Path]) -> None:
    before = find_certificate("dev-1", {"env": "SOME_ACCOUNT"})
    os.environ["SOME_ACCOUNT_CRT"] = pem["cert"].read_text() + "\n"
    after = find_certificate("dev-1", {"env": "SOME_ACCOUNT"})
    assert after.cert.read_text() == pem["cert"].read_text() + "\n"
    assert before.cert.read_text() == pem["cert"].read_text(), "who still reads the old one is not disturbed"


def test_replaced_files_have_another_fingerprint(tmp_path: Path) -> None:
    cert, key = tmp_path / "client.crt", tmp_path / "client.key"
    cert.write_text("old")
    key.write_text("old")
    found = find_certificate("dev-1", {"cert": str(cert), "key": str(key)})
    before = found.fingerprint()
    os.utime(cert, ns=(1, 1))
    assert found.fingerprint() != before


def test_a_missing_file_is_named(tmp_path: Path, pem: Mapping[str, Path]) -> None:
    missing = str(tmp_path / "nothing.key")
    assert missing in refusal({"cert": str(pem["cert"]), "key": missing})


@pytest.mark.parametrize("which", ["cert", "key"])
def test_a_file_that_cannot_be_read_is_named_by_the_check(
    tmp_path: Path, pem: Mapping[str, Path], which: str
) -> None:
    # A folder cannot be read by anybody, root included.
    given = {name: str(path) for name, path in pem.items()} | {which: str(tmp_path)}
    with pytest.raises(BadInput, match=re.escape(str(tmp_path))):
        find_certificate("dev-1", given).check()


def test_the_key_of_another_certificate_is_refused_by_the_check(
    tmp_path: Path, pem: Mapping[str, Path]
) -> None:
    other = tmp_path / "other.key"
    trustme.CA().issue_cert("dev-1").private_key_pem.write_to_path(str(other))
    with pytest.raises(BadInput, match="holds no key"):
        find_certificate("dev-1", {"cert": str(pem["cert"]), "key": str(other)}).check()


def test_the_end_of_a_certificate_is_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    end = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    issued = trustme.CA().issue_cert("dev-1", not_after=end)
    cert, none = tmp_path / "client.crt", tmp_path / "none.crt"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    none.write_text("-----BEGIN CERTIFICATE-----\n")
    assert find_certificate("dev-1", {"cert": str(cert), "key": "/none"}).not_after() == end.timestamp()
    with pytest.raises(BadInput, match="holds no certificate"):
        find_certificate("dev-1", {"cert": str(none), "key": "/none"}).not_after()


@pytest.mark.parametrize(("days", "is_soon"), [(15, False), (14, True), (1, True), (-1, True)])
def test_two_weeks_are_soon(days: int, is_soon: bool) -> None:
    now = 1_900_000_000.0
    assert expires_soon(now + days * 86400.0, now) is is_soon


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nothing") in refusal({"kubeconfig": str(tmp_path / "nothing")})


@pytest.mark.parametrize("user", ["{}", "{token: abc}"])
def test_a_kubeconfig_without_a_certificate_is_refused(tmp_path: Path, user: str) -> None:
    path = kubeconfig(tmp_path, user)
    assert str(path) in refusal({"kubeconfig": str(path)})


@pytest.mark.parametrize("reference", [{}, {"cert": "/only"}, {"token": "abc"}])
def test_a_reference_of_no_known_kind_is_refused_with_the_known_ones(reference: Mapping[str, str]) -> None:
    words = refusal(reference)
    assert "dev-1" in words
    assert "kubeconfig" in words
    assert "abc" not in words


@pytest.mark.usefixtures("in_environment")
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_or_wrong_variable_is_named_and_its_content_is_not(name: str) -> None:
    os.environ[name] = "hunter2"
    words = refusal({"env": "SOME_ACCOUNT"})
    assert name in words
    assert "hunter2" not in words


@pytest.mark.usefixtures("in_environment")
def test_nothing_of_the_key_is_in_the_text_of_a_certificate(pem: Mapping[str, Path]) -> None:
    found = find_certificate("dev-1", {"env": "SOME_ACCOUNT"})
    secret = pem["key"].read_text().splitlines()[1]
    assert secret not in repr(found) + str(found)
