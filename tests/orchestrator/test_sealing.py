"""What is sealed opens with the key that sealed it, for the purpose that it was sealed for, and else not."""

from __future__ import annotations

import base64

import pytest
from cryptography.fernet import Fernet, InvalidToken

from orchestrator.errors import BadInput
from orchestrator.sealing import Unreadable, Vault

OLDEST, OLD, NEW = ("o" * 40, "p" * 40, "n" * 40)
PURPOSE = "project-secret:1:API_KEY"
VALUE = "hunter2-ü-\n-second line"


def test_what_was_sealed_comes_back_and_is_not_seen() -> None:
    vault = Vault([NEW])
    sealed = vault.seal(PURPOSE, VALUE)
    assert vault.open(PURPOSE, sealed) == VALUE
    assert "hunter2" not in sealed
    assert b"hunter2" not in base64.urlsafe_b64decode(sealed)
    assert vault.seal(PURPOSE, VALUE) != sealed, "the same value twice cannot be told"


def test_the_key_is_no_plain_form_of_the_setting() -> None:
    sealed = Vault([NEW]).seal(PURPOSE, VALUE)
    with pytest.raises(InvalidToken):
        Fernet(base64.urlsafe_b64encode(NEW.encode()[:32])).decrypt(sealed)


@pytest.mark.parametrize("purpose", ["project-secret:2:API_KEY", "project-secret:1:API_KEZ", ""])
def test_moved_to_another_place_it_does_not_open(purpose: str) -> None:
    vault = Vault([NEW])
    with pytest.raises(Unreadable):
        vault.open(purpose, vault.seal(PURPOSE, VALUE))


def test_changed_anywhere_it_does_not_open() -> None:
    vault = Vault([NEW])
    sealed = vault.seal(PURPOSE, VALUE)
    for place in range(len(sealed.rstrip("=")) - 1):
        other = "A" if sealed[place] != "A" else "B"
        with pytest.raises(Unreadable):
            vault.open(PURPOSE, sealed[:place] + other + sealed[place + 1 :])


@pytest.mark.parametrize("sealed", ["", "x", "gAAAAA", "\ud83d", "é" * 100])
def test_what_is_no_sealed_text_does_not_open(sealed: str) -> None:
    with pytest.raises(Unreadable):
        Vault([NEW]).open(PURPOSE, sealed)


def test_older_keys_open_and_the_first_one_seals() -> None:
    before, during, after = Vault([OLD]), Vault([NEW, OLDEST, OLD]), Vault([NEW])
    sealed = before.seal(PURPOSE, VALUE)
    assert during.open(PURPOSE, sealed) == VALUE
    assert not during.is_newest(PURPOSE, sealed)
    with pytest.raises(Unreadable):
        after.open(PURPOSE, sealed)
    anew = during.seal(PURPOSE, during.open(PURPOSE, sealed))
    assert during.is_newest(PURPOSE, anew)
    assert after.open(PURPOSE, anew) == VALUE


def test_without_a_key_nothing_is_sealed_or_opened() -> None:
    sealed = Vault([NEW]).seal(PURPOSE, VALUE)
    with pytest.raises(BadInput, match="operators have to set secret_key"):
        Vault([]).seal(PURPOSE, VALUE)
    with pytest.raises(Unreadable):
        Vault([]).open(PURPOSE, sealed)
    assert not Vault([]).is_newest(PURPOSE, sealed)
