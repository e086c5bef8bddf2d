"""Where settings come from, and that a wrong one is refused by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import BadInput
from orchestrator.settings import PREFIX, Settings, load_settings

Environment = Callable[..., None]


@pytest.fixture(autouse=True)
def environment() -> Iterator[Environment]:
    """Set settings in this process's environment until the test is over; the one that must be is set."""
    before = dict(os.environ)
    os.environ[f"{PREFIX}GITLAB_TOKEN"] = "glpat-of-the-tests"

    def put(**values: str) -> None:
        os.environ.update({f"{PREFIX}{name}": value for name, value in values.items()})

    yield put
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def file(tmp_path: Path, environment: Environment) -> Callable[[str], None]:
    """Use a settings file with this text."""

    def write(text: str) -> None:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        environment(CONFIG=str(path))

    return write


def refusal(**values: object) -> str:
    with pytest.raises(BadInput) as refused:
        load_settings(**values)
    return str(refused.value)


def test_without_a_token_nothing_starts() -> None:
    del os.environ[f"{PREFIX}GITLAB_TOKEN"]
    assert f"{PREFIX}GITLAB_TOKEN" in refusal()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "previews.example.org"),
        ("public_url", "ftp://previews.example.org"),
        ("public_url", ""),
        ("public_url", "http://"),
        ("gitlab_url", "gitlab"),
        ("gitlab_url", "http://["),
        ("toolforge_url", "api:30003"),
        ("preview_url", "https://toolforge.org"),
        ("preview_url", "{tool}.toolforge.org"),
        ("gitlab_ca_file", "/nowhere/ca.pem"),
        ("gitlab_ca_file", "/"),
        ("toolforge_ca_file", "/nowhere/ca.pem"),
        ("preview_url", "https://{tool}.{zone}.org"),
        ("gitlab_token", ""),
        ("gitlab_token", " "),
        ("database_url", "nonsense"),
        ("database_url", "nonsense://x"),
        ("database_url", "mssql://x/y"),
        ("database_url", "mysql+mysqldb://x/y"),
        ("redis_url", "nonsense"),
        ("redis_url", "http://127.0.0.1:6379"),
        ("queue_prefix", ""),
        ("contact", "me"),
        ("job_port", 0),
        ("job_port", 65536),
        ("job_port", "http"),
        ("job_command", ""),
        ("max_concurrent_builds", 0),
        ("max_concurrent_builds", 1.5),
        ("builds_per_account", 5),
        ("builds_per_account", 0),
        ("live_seconds", 0),
        ("live_seconds", "three days"),
        ("live_seconds", float("nan")),
        ("min_live_seconds", -1),
        ("build_seconds", 0),
        ("start_seconds", -5),
        ("check_seconds", -0.5),
        ("check_timeout_seconds", 0),
        ("stable_seconds", -1),
        ("outage_seconds", 0),
        ("poll_min_seconds", 0),
        ("poll_max_seconds", 0),
        ("log_limit_bytes", 10),
        ("body_limit_bytes", 999),
        ("body_limit_bytes", None),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_setting(name: str, value: object) -> None:
    words = refusal(**{name: value})
    assert f"{PREFIX}{name.upper()}" in words
    assert f"in a file: {name}" in words
    assert len(words.splitlines()) == 1


def test_all_wrong_values_are_named_at_once() -> None:
    words = refusal(job_port=0, contact="", live_seconds=-1)
    assert all(f"{PREFIX}{name}" in words for name in ("JOB_PORT", "CONTACT", "LIVE_SECONDS"))
    assert len(words.splitlines()) == 3


def test_a_wrong_value_in_the_environment_is_refused_by_its_name(environment: Environment) -> None:
    environment(JOB_PORT="eight thousand")
    assert f"{PREFIX}JOB_PORT" in refusal()


def test_an_unknown_variable_is_refused_by_its_name(environment: Environment) -> None:
    environment(JOB_PROT="8000")
    words = refusal()
    assert f"{PREFIX}JOB_PROT" in words
    assert "toolforge-preview settings" in words


def test_an_unknown_name_in_a_file_is_refused_by_its_name(file: Callable[[str], None]) -> None:
    file("job_prot = 8000\n")
    assert "job_prot" in refusal()


def test_a_file_that_is_not_there_is_refused_by_its_path(environment: Environment) -> None:
    environment(CONFIG="/nowhere/settings.toml")
    words = refusal()
    assert "/nowhere/settings.toml" in words
    assert f"{PREFIX}CONFIG" in words


def test_a_file_sets_what_nothing_else_sets(file: Callable[[str], None]) -> None:
    file('job_port = 8001\ncontact = "ops@example.org"\n')
    assert (load_settings().job_port, load_settings().contact) == (8001, "ops@example.org")


def test_the_environment_goes_before_the_file(file: Callable[[str], None], environment: Environment) -> None:
    file('job_port = 8001\ncontact = "ops@example.org"\n')
    environment(JOB_PORT="8002")
    assert (load_settings().job_port, load_settings().contact) == (8002, "ops@example.org")


def test_an_argument_goes_before_the_environment(environment: Environment) -> None:
    environment(JOB_PORT="8002")
    assert load_settings(job_port=8003).job_port == 8003


def test_an_address_loses_the_slash_at_its_end() -> None:
    settings = load_settings(public_url="https://previews.example.org/", gitlab_url="https://gitlab//")
    assert (settings.public_url, settings.gitlab_url) == ("https://previews.example.org", "https://gitlab")


def test_the_token_is_in_no_text_about_the_settings(environment: Environment) -> None:
    environment(GITLAB_TOKEN="glpat-very-secret")
    settings = load_settings()
    assert settings.gitlab_token.get_secret_value() == "glpat-very-secret"
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "very-secret" not in text


def test_a_wrong_value_is_not_repeated_where_it_could_be_a_secret(environment: Environment) -> None:
    environment(GITLAB_TOKEN="glpat-very-secret", JOB_PORT="glpat-in-the-wrong-place")
    words = refusal()
    assert "very-secret" not in words
    assert "wrong-place" not in words


def test_every_setting_has_a_description() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_the_user_agent_names_the_service_and_a_contact() -> None:
    assert load_settings(contact="ops@example.org").user_agent.startswith("toolforge-preview/")
    assert "ops@example.org" in load_settings(contact="ops@example.org").user_agent


def test_the_policy_is_what_was_set() -> None:
    policy = load_settings(
        max_concurrent_builds=9, builds_per_account=2, live_seconds=5, check_seconds=7, poll_min_seconds=0.25
    ).policy()
    assert (policy.limits.max_concurrent_builds, policy.limits.builds_per_account) == (9, 2)
    assert (policy.live_seconds, policy.patience.check_seconds, policy.clean_poll_seconds) == (5, 7, 0.25)


SIGN_IN = {"gitlab_application_id": "id", "gitlab_application_secret": "gloas", "secret_key": "k" * 32}


def test_sign_in_is_set_up_by_an_application_its_secret_and_a_key() -> None:
    settings = load_settings(**SIGN_IN, operators=" Olga, nemo ,")
    assert settings.operator_names == {"olga", "nemo"}
    assert load_settings().operator_names == set()
    assert load_settings(gitlab_application_secret="").gitlab_application_secret is None
    assert "gloas" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        ("gitlab_application_id", "GITLAB_APPLICATION_SECRET"),
        ("gitlab_application_secret", "GITLAB_APPLICATION_SECRET"),
        ("secret_key", "GITLAB_APPLICATION_SECRET"),
    ],
)
def test_half_of_a_sign_in_is_refused_with_what_is_missing(missing: str, name: str) -> None:
    words = refusal(**{key: value for key, value in SIGN_IN.items() if key != missing})
    assert f"{PREFIX}{name}" in words
    assert missing in words or "secret of the application" in words
    assert "gloas" not in words


def test_operators_who_could_not_sign_in_are_refused() -> None:
    assert f"{PREFIX}OPERATORS" in refusal(operators="olga")


def test_a_key_that_is_wrong_is_told_once() -> None:
    assert refusal(**SIGN_IN | {"secret_key": "short"}).count("Setting") == 1


def test_names_of_bots_have_commas_between_them(environment: Environment) -> None:
    environment(BOTS="pywikibot, renovate-bot,")
    assert load_settings().policy().bots == {"pywikibot", "renovate-bot"}
