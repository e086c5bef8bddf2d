"""Small pure pieces: version ranges, detection, Procfiles, commands, scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.toolforge.answers import go_duration
from deploy.local.toolforge.images import resolve_name
from deploy.local.toolforge.job_schema import BadJob, quantity
from deploy.local.toolforge.real import detect, node_version, procfile
from deploy.local.toolforge.real.container import localise, resolve_command
from deploy.local.toolforge.scenario import BadScenario, Scenario, load
from deploy.local.toolforge.smart_http import parse_advertisement

NODE = ("20.19.5", "22.20.0")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("20.x", "20.19.5"),
        ("20", "20.19.5"),
        (">=18", "22.20.0"),
        ("^20.10.0", "20.19.5"),
        ("~20.10", "20.10.0"),
        ("20.11.1", "20.11.1"),
        (">=20 <22", "20.19.5"),
        (">= 20.0.0 < 21", "20.19.5"),
        ("18.x || 20.x", "20.19.5"),
        ("20 - 22", "22.20.0"),
        ("*", "22.20.0"),
        ("", "22.20.0"),
        ("v20.1.0", "20.1.0"),
        ("18.x", None),
        (">=23", None),
        ("^0.10", None),
        ("22.99.0", None),
    ],
)
def test_node_ranges_resolve_to_the_newest_that_fits(wanted: str, found: str | None) -> None:
    assert node_version.resolve(wanted, NODE) == found


@pytest.mark.parametrize("wanted", ["lts/iron", "node", "20.x.y.z", ">="])
def test_what_is_no_range_is_said_to_be_none(wanted: str) -> None:
    with pytest.raises(node_version.BadRange):
        node_version.resolve(wanted, NODE)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_an_exact_version_satisfies_itself_and_its_ranges(major: int, minor: int, patch: int) -> None:
    version = (major, minor, patch)
    text = f"{major}.{minor}.{patch}"
    for wanted in (text, f"^{text}", f"~{text}", f">={text}", f"<={text}", f"{major}.x", "*"):
        assert node_version.satisfies(version, wanted)
    assert not node_version.satisfies(version, f">{text}")
    assert not node_version.satisfies(version, f"<{text}")


@pytest.mark.parametrize(
    ("files", "first"),
    [
        (["requirements.txt", "package.json"], "python"),
        (["Gemfile", "package.json"], "ruby"),
        (["composer.json", "package.json"], "php"),
        (["index.php"], "php"),
        (["go.mod", "package.json"], "go"),
        (["pom.xml"], "java"),
        (["gradlew"], "java"),
        (["build.sbt"], "scala"),
        (["x.csproj"], "dotnet"),
        (["package.json", "public/index.html"], "nodejs"),
        (["public/index.html"], "static"),
        (["index.html"], None),
        (["Procfile"], None),
        ([], None),
    ],
)
def test_languages_are_recognised_in_the_builders_order(
    tmp_path: Path, files: list[str], first: str | None
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = detect.languages(tmp_path)
    assert (found[0] if found else None) == first


def test_a_project_descriptor_can_ask_for_the_static_server(tmp_path: Path) -> None:
    (tmp_path / "project.toml").write_text('[[io.buildpacks.group]]\nid = "heroku/static-web-server"\n')
    assert detect.languages(tmp_path) == ["static"]


def test_a_procfile_is_read_with_its_comments(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text("# x\nweb:  gunicorn app:app  \n\nworker-2: true\nnonsense\n")
    assert procfile.read(tmp_path) == {"web": "gunicorn app:app", "worker-2": "true"}


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("web", ["bash", "-c", "serve $PORT"]),
        ("launcher web", ["bash", "-c", "serve $PORT"]),
        ("web --debug 'a b'", ["bash", "-c", "serve $PORT --debug 'a b'"]),
        ("python app.py 'a b'", ["python", "app.py", "a b"]),
        ("worker", ["worker"]),
        ("", []),
    ],
)
def test_commands_are_process_types_or_programs(command: str, argv: list[str]) -> None:
    assert resolve_command(command, {"web": "serve $PORT"}) == argv


@pytest.mark.parametrize(
    ("word", "there"),
    [
        ("gunicorn --bind=0.0.0.0:8000 app:app", "gunicorn --bind=127.0.0.1:41000 app:app"),
        ("uvicorn a:b --host 0.0.0.0 --port 8000", "uvicorn a:b --host 127.0.0.1 --port 41000"),
        ("flask run -p 8000", "flask run -p 41000"),
        ("serve :8000", "serve :41000"),
        ("8000", "41000"),
        ("gunicorn -b 0.0.0.0:$PORT app:app", "gunicorn -b 127.0.0.1:$PORT app:app"),
        ("sleep 80001", "sleep 80001"),
        ("x --max=18000", "x --max=18000"),
        ("ping 10.0.0.0", "ping 10.0.0.0"),
    ],
)
def test_a_command_is_moved_to_the_containers_own_port_and_loopback(word: str, there: str) -> None:
    assert localise(word, 8000, 41000) == there


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("tool-a/b:latest", "tool-a/b:latest"),
        ("tool-a/b", "tool-a/b:latest"),
        ("host.example/tool-a/b:latest@sha256:1", "tool-a/b:latest@sha256:1"),
        ("host/tool-a/b:latest", "host/tool-a/b:latest"),
        ("tool-a/b@sha256:1", "tool-a/b:latest@sha256:1"),
        ("node20", "node20"),
    ],
)
def test_image_names_have_a_short_form(name: str, short: str) -> None:
    assert resolve_name(name, "harbor.toolforge.localhost") == short


def test_quantities() -> None:
    assert [quantity(text) for text in ("100m", "0.5Gi", "1G", "512Mi", "2")] == [
        0.1,
        2**29,
        10**9,
        2**29,
        2,
    ]
    for text in ("much", "", "1X", "-1"):
        with pytest.raises(BadJob):
            quantity(text)


def test_durations() -> None:
    assert [go_duration(seconds) for seconds in (0, 59.9, 61, 90061)] == ["0s", "59s", "1m1s", "1d1h1m1s"]


def test_an_advertisement_gives_its_refs() -> None:
    sha = "a" * 40
    lines = [b"# service=git-upload-pack\n", f"{sha} HEAD\0caps\n".encode(), f"{sha} refs/heads/x\n".encode()]
    packets = [b"%04x%s" % (len(line) + 4, line) for line in lines]
    data = packets[0] + b"0000" + b"".join(packets[1:]) + b"0000"
    assert parse_advertisement(data) == [(sha, "HEAD"), (sha, "refs/heads/x")]


@pytest.mark.parametrize(
    "data",
    [
        {"build": []},
        {"builds": [{"durations": 1}]},
        {"builds": [{"outcome": "maybe"}]},
        {"jobs": [{"health": "fine"}]},
    ],
)
def test_a_scenario_with_unknown_words_is_refused(data: dict) -> None:
    with pytest.raises(BadScenario):
        Scenario(data)


def test_a_scenario_draws_the_same_again_within_its_bounds(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "seed: 7\nbuilds:\n- match: {source_url: '*slow*'}\n  duration: {distribution: lognormal, median: 40,"
        " sigma: 2, min: 10, max: 60}\n  size: 3Mi\n- duration: 1\n"
    )

    def draw() -> list[float]:
        scenario = Scenario(load(path))
        entry = scenario.build_entry(source_url="https://x/slow.git")
        return [scenario.build(entry, identity=str(n)).seconds for n in range(50)]

    assert draw() == draw()
    assert all(10 <= seconds <= 60 for seconds in draw())
    assert len(set(draw())) > 10
    assert Scenario(load(path)).build_entry(source_url="https://x/y.git")["duration"] == 1
