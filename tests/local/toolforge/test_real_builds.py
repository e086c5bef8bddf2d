"""The real engine: real repositories, real environments, real processes (contract 7.3, 7.4)."""

from __future__ import annotations

import json
import shutil

import pytest
import requests

from deploy.local.toolforge import Builder, Latency
from tests.local.toolforge.rig import Account, error_of, until

QUICK = Latency(build_pending=0, build_started=0, cancel=0, schedule=0, image_pull=0, probe=0.02)
SERVER = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        shown = {"text": %r, "path": self.path, "host": self.headers["Host"], "env": dict(os.environ)}
        body = json.dumps(shown).encode()
        self.send_response(200 if self.path != "/missing" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body[::-1])
    def log_message(self, *args):
        print("asked", self.path, flush=True)
print("up", flush=True)
http.server.HTTPServer(("127.0.0.1", %s), Handler).serve_forever()
"""
OWN_PORT = 'int(os.environ["PORT"])'
APP = {"requirements.txt": "", "app.py": SERVER % ("one", OWN_PORT), "Procfile": "web: python app.py\n"}
needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm here")


@pytest.fixture
def real(serve) -> Account:
    """The first account of a Toolforge that really builds."""
    return serve(engine="real", latency=QUICK)


def failed(account: Account, url: str, **parameters: object) -> str:
    """The log of a build that has to fail."""
    build = account.ended(account.started(url, **parameters))
    assert build["status"] == "BUILD_FAILURE", account.log_text(build["build_id"])
    return account.log_text(build["build_id"])


def test_a_python_app_is_built_run_published_updated_and_ended(real: Account, repository) -> None:
    source = repository(APP)
    image = real.built(source.url, image_name="d1")
    assert real.run(image, publish="/").status_code == 200
    real.ready()
    answer = real.visit("/some/path?q=%C3%A9")
    assert answer.json()["text"] == "one"
    assert answer.json()["path"] == "/some/path?q=%C3%A9"
    assert answer.json()["host"] == f"one.localhost:{real.toolforge.web_port}"
    assert real.visit("/missing").status_code == 404
    source.commit({"app.py": SERVER % ("two", OWN_PORT)})
    real.run(real.built(source.url, image_name="d2"), publish="/")
    until(lambda: real.visit().status_code == 200 and real.visit().json()["text"] == "two")
    real.run(image, publish="/")
    until(lambda: real.visit().status_code == 200 and real.visit().json()["text"] == "one")
    messages = [json.loads(line)["message"] for line in real.jobs("GET", "/jobs/web/logs").iter_lines()]
    assert "up" in messages
    assert any(message.startswith("asked /some/path") for message in messages)
    assert real.jobs("DELETE", "/jobs/web").status_code == 200
    assert real.visit().status_code == 404


def test_a_job_sees_its_envvars_and_port_and_nothing_of_the_server(
    serve, repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "secret")
    real = serve(engine="real", latency=QUICK)
    real.envvars("POST", json={"name": "GREETING", "value": "hello"})
    image = real.built(repository(APP).url)
    real.run(image, publish="/")
    real.ready()
    seen = real.visit().json()["env"]
    assert seen["GREETING"] == "hello"
    assert seen["PORT"].isdigit()
    assert "NO_HOME" in seen
    assert "GITLAB_TOKEN" not in seen
    assert "TOOL_DATA_DIR" not in seen
    real.envvars("POST", json={"name": "GREETING", "value": "again"})
    assert real.visit().json()["env"]["GREETING"] == "hello"
    real.jobs("POST", "/jobs/web/restart")
    until(lambda: real.visit().status_code == 200 and real.visit().json()["env"]["GREETING"] == "again")
    real.run(image, publish="/", mount="all")
    until(lambda: real.visit().status_code == 200 and "TOOL_DATA_DIR" in real.visit().json()["env"])


def test_a_build_inherits_no_secret_and_sees_its_own_variables(
    serve, repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_TOKEN", "secret")
    real = serve(engine="real", latency=QUICK)
    script = "const e = process.env; console.log('SEEN', e.GITLAB_TOKEN, e.colour)"
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    files = {"package.json": json.dumps({"scripts": {"build": "node see.js"}}), "see.js": script}
    build = real.ended(real.started(repository(files).url, envvars={"colour": "green"}))
    assert "SEEN undefined green" in real.log_text(build["build_id"])


def test_a_request_body_and_a_lost_backend_pass_the_proxy(real: Account, repository) -> None:
    import requests

    real.run(real.built(repository(APP).url), publish="/")
    real.ready()
    url = f"http://127.0.0.1:{real.toolforge.web_port}/"
    answer = requests.post(url, data=b"abc" * 50_000, headers={"Host": "one.localhost"}, timeout=5)
    assert answer.content == (b"abc" * 50_000)[::-1]
    assert requests.get(url, headers={"Host": "nobody.localhost"}, timeout=5).status_code == 404


def test_an_app_bound_to_the_jobs_port_by_its_command_gets_a_port_of_its_own(serve, repository) -> None:
    files = {**APP, "app.py": SERVER % ("fixed", "int(__import__('sys').argv[1].split(':')[1])")}
    files["Procfile"] = "web: python app.py --bind=0.0.0.0:8000"
    files["app.py"] = files["app.py"].replace("argv[1].split(':')[1]", "argv[1].split(':')[-1]")
    real = serve(engine="real", latency=QUICK)
    second = Account(real.toolforge, "two")
    image = real.built(repository(files).url)
    for account in (real, second):
        account.run(image, publish="/")
    for account in (real, second):
        account.ready()
        assert account.visit().json()["text"] == "fixed"
    second.close()


def test_an_app_that_listens_elsewhere_never_gets_ready(real: Account, repository) -> None:
    real.run(real.built(repository({**APP, "app.py": SERVER % ("lost", "0")}).url))
    until(lambda: "up" in real.jobs("GET", "/jobs/web/logs").text)
    assert real.job()["status"]["short"] == "running"
    assert real.job()["status_short"] == "Not running"


def test_a_repository_without_web_builds_and_the_job_crash_loops_with_127(real: Account, repository) -> None:
    image = real.built(repository({"requirements.txt": "", "Procfile": "worker: true"}).url)
    assert real.run(image).status_code == 200
    job = until(lambda: (j := real.job())["status_short"] == "Specified command fails to run" and j)
    assert "exitcode 127" in job["status"]["messages"]
    assert "executable file not found in $PATH" in real.jobs("GET", "/jobs/web/logs").text


def test_a_static_site_is_served(real: Account, repository) -> None:
    files = {"public/index.html": "<h1>hi</h1>", "public/a/b.txt": "deep", "secret.txt": "no"}
    real.run(real.built(repository(files).url), publish="/")
    real.ready()
    assert real.visit().text == "<h1>hi</h1>"
    assert real.visit("/a/b.txt").text == "deep"
    for path in ("/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt", "/a/", "/none"):
        assert real.visit(path).status_code == 404


def test_a_static_site_may_name_its_root_and_its_page_for_the_missing(real: Account, repository) -> None:
    toml = '[com.heroku.static-web-server]\nroot = "."\n[com.heroku.static-web-server.errors.404]\n'
    toml += 'file_path = "index.html"\nstatus = 200\n'
    real.run(real.built(repository({"index.html": "spa", "project.toml": toml}).url), publish="/")
    real.ready()
    assert (real.visit("/some/route").status_code, real.visit("/some/route").text) == (200, "spa")
    assert real.visit("/.git/config").status_code == 404


@pytest.mark.skipif(shutil.which("php") is None, reason="there is no php here")
def test_a_php_app_is_run_by_phps_own_server(real: Account, repository) -> None:
    files = {"public/index.php": "<?php echo 6 * 7;", "composer.json": '{"require": {"php": ">=7"}}'}
    real.run(real.built(repository(files).url), publish="/")
    real.ready()
    assert real.visit().text == "42"


@pytest.mark.skipif(shutil.which("bundle") is None, reason="there is no ruby with bundler here")
def test_a_ruby_app_is_bundled_and_run(real: Account, repository) -> None:
    head = "HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close"
    app = "require 'socket'\nserver = TCPServer.new('127.0.0.1', ENV['PORT'].to_i)\nloop do\n"
    app += f'  c = server.accept\n  c.gets\n  c.print "{head}\\r\\n\\r\\nruby"\n  c.close\nend\n'
    lock = "GEM\n  specs:\n\nPLATFORMS\n  x86_64-linux\n\nDEPENDENCIES\n\nBUNDLED WITH\n   2.3.15\n"
    files = {"Gemfile": "# needs nothing\n", "Gemfile.lock": lock, "app.rb": app}
    source = repository({**files, "Procfile": "web: bundle exec ruby app.rb"})
    real.run(real.built(source.url), publish="/")
    real.ready()
    assert real.visit().text == "ruby"
    assert "Error: `Gemfile.lock` not found" in failed(real, repository({"Gemfile": ""}).url)


@pytest.mark.skipif(shutil.which("php") is not None, reason="there is php here")
def test_php_without_an_interpreter_is_said_plainly(real: Account, repository) -> None:
    log = failed(real, repository({"index.php": "<?php"}).url)
    assert "[Error: This local Toolforge cannot build PHP]" in log


@needs_node
def test_a_node_app_is_built_and_run(real: Account, repository) -> None:
    code = 'require("http").createServer((q, r) => r.end(require("./made.js"))).listen(process.env.PORT)'
    package = {
        "scripts": {"start": "node server.js", "build": "echo 'module.exports=\"made\"' > made.js"},
        "engines": {"node": ">=18"},
    }
    source = repository({"package.json": json.dumps(package), "server.js": code})
    real.run(real.built(source.url), publish="/")
    real.ready()
    assert real.visit().text == "made"


@needs_node
def test_node_errors_have_the_buildpacks_words(real: Account, repository) -> None:
    log = failed(real, repository({"package.json": '{"engines": {"node": "4.x"}}'}).url)
    assert "! Unknown Node.js version: 4.x" in log
    log = failed(real, repository({"package.json": "{"}).url)
    assert "! Error parsing `./package.json`" in log
    broken = {"dependencies": {"x": "file:./none.tgz"}}
    log = failed(real, repository({"package.json": json.dumps(broken)}).url)
    assert "! Failed to install Node modules" in log


def test_requirements_are_installed_once_and_shared(real: Account, repository, tmp_path) -> None:
    wheel = _wheel(tmp_path / "wheels")
    app = "import little, os\nprint(little.WORD, flush=True)\n" + SERVER % ("dep", OWN_PORT)
    source = repository({**APP, "requirements.txt": f"little @ {wheel.as_uri()}\n", "app.py": app})
    real.run(real.built(source.url))
    real.ready()
    assert "found the little package" in real.jobs("GET", "/jobs/web/logs").text


def test_equal_empty_requirements_share_an_environment(real: Account, repository) -> None:
    real.built(repository(APP).url)
    build = real.ended(real.started(repository({**APP, "x": "1"}).url))
    assert "Using cached dependencies" in real.log_text(build["build_id"])


def test_a_requirement_that_does_not_exist_fails_as_pip_and_the_buildpack_say(
    real: Account, repository
) -> None:
    files = {**APP, "requirements.txt": "--no-index\nno-such-package-here==9.9\n"}
    log = failed(real, repository(files).url)
    assert "ERROR: No matching distribution found for no-such-package-here==9.9" in log
    assert "[Error: Unable to install dependencies using pip]" in log
    assert "\x1b[1;31m" in log


@pytest.mark.parametrize(
    ("files", "title"),
    [
        ({".python-version": "3.14"}, "The requested Python version isn't recognised"),
        ({".python-version": "3.8"}, "The requested Python version has reached end-of-life"),
        ({".python-version": "python-3.12"}, "Invalid Python version in .python-version"),
        ({".python-version": "3.12\n3.13"}, "Invalid Python version in .python-version"),
        ({"runtime.txt": "python-3.12"}, "The runtime.txt file isn't supported"),
        ({"poetry.lock": ""}, "Multiple Python package manager files were found"),
    ],
)
def test_python_errors_have_the_buildpacks_titles(real: Account, repository, files, title: str) -> None:
    assert f"[Error: {title}]" in failed(real, repository({**APP, **files}).url)


def test_python_without_or_with_an_incomplete_manager(real: Account, repository) -> None:
    log = failed(real, repository({"main.py": ""}).url)
    assert "[Error: Couldn't find any supported Python package manager files]" in log
    log = failed(real, repository({"uv.lock": ""}).url)
    assert "[Error: No Python version was specified]" in log


def test_the_latest_builder_has_more_versions(real: Account, repository) -> None:
    source = repository({**APP, ".python-version": "3.14"})
    assert "isn't recognised" in failed(real, source.url)
    assert real.built(source.url, use_latest_versions=True)


def test_the_log_lists_the_buildpacks_as_lifecycle_does_until_toolforge_has_another_builder(
    real: Account, repository
) -> None:
    url = repository({"README.md": "hello", **APP, "app.py": "", ".python-version": "3.9"}).url

    def listed() -> list[str]:
        """Without what stands before each line, the stamp among it."""
        lines = [line.split(" ", 2) for line in failed(real, url).splitlines()]
        return [words[-1] for words in lines if words[0] == "[step-detect]"]

    assert listed() == ["2 of 3 buildpacks participating", "heroku/python   2.5.1", "heroku/procfile 4.2.1"]
    admin = f"{real.toolforge.admin_url}/builder"
    assert requests.post(admin, json={"name": "mine"}, timeout=5).status_code == 400
    assert requests.post(admin, json={"name": "latest"}, timeout=5).status_code == 200
    assert listed()[1] == "heroku/python   2.7.0"


def test_a_builders_versions_are_configuration(serve, repository) -> None:
    real = serve(engine="real", latency=QUICK, builder=Builder("mine", ("3.7",), ("8.0.0",)))
    assert real.built(repository({**APP, ".python-version": "3.7"}).url)


def test_nothing_recognisable_fails_in_detection(real: Account, repository) -> None:
    log = failed(real, repository({"README.md": "hello", "Procfile": "web: true"}).url)
    assert "ERROR: No buildpack groups passed detection." in log
    assert "ERROR: failed to detect: no buildpacks participating" in log


@pytest.mark.parametrize(
    ("file", "name"), [("go.mod", "Go"), ("pom.xml", "Java"), ("app.csproj", ".NET"), ("build.sbt", "Scala")]
)
def test_what_cannot_be_built_here_is_said_plainly(real: Account, repository, file: str, name: str) -> None:
    log = failed(real, repository({file: "", "package.json": "{}"}).url)
    assert f"[Error: This local Toolforge cannot build {name}]" in log


def test_a_procfile_without_entries_is_invalid(real: Account, repository) -> None:
    assert "Invalid Procfile format" in failed(real, repository({**APP, "Procfile": "nonsense"}).url)


def test_debian_packages_are_read_and_reported(real: Account, repository) -> None:
    toml = '[com.heroku.buildpacks.deb-packages]\ninstall = ["imagemagick", {name = "curl"}]\n'
    name = real.started(repository({**APP, "project.toml": toml, "Aptfile": "# x\nffmpeg\n"}).url)
    real.ended(name)
    assert "imagemagick, curl, ffmpeg" in real.log_text(name)


def test_too_large_an_image_or_log_fails_the_build(serve, repository) -> None:
    source = repository({**APP, "blob": "x" * 100_000})
    small = serve(engine="real", latency=QUICK, max_image_bytes=50_000)
    assert "failed to export" in failed(small, source.url)
    brief = serve(engine="real", latency=QUICK, max_log_bytes=100, folder="brief")
    assert brief.ended(brief.started(source.url))["status"] == "BUILD_FAILURE"


def test_an_image_over_quota_leaves_nothing_behind(serve, repository) -> None:
    real = serve(engine="real", latency=QUICK, quota_bytes=1000)
    assert "will exceed the configured upper limit" in failed(real, repository({**APP, "b": "x" * 5000}).url)
    assert not list((real.toolforge.settings.state / "images").glob("*/*"))
    assert real.builds("GET", "/quotas").json()["quota"]["categories"][0]["items"][0]["used"] == "0B"


def test_a_commit_that_disappeared_after_the_start_fails_in_the_clone(serve, repository) -> None:
    real = serve(engine="real", latency=Latency(build_pending=0.3))
    source = repository(APP)
    name = real.started(source.url)
    shutil.rmtree(source.path)
    assert real.ended(name)["status"] == "BUILD_FAILURE"
    assert "[step-clone]" in real.log_text(name)
    assert "fatal:" in real.log_text(name)


def test_submodules_and_links_out_of_the_repository_do_no_harm(real: Account, repository, tmp_path) -> None:
    source = repository(APP)
    (source.path / "link").symlink_to(tmp_path)
    source.commit({})
    real.run(real.built(source.url))
    real.ready()
    real.jobs("DELETE", "/jobs/web")
    real.builds("POST", "/clean")
    assert (tmp_path / "repositories").is_dir()


def test_a_job_writes_into_its_own_copy_of_the_image(real: Account, repository) -> None:
    app = "import os\nprint('first' if not os.path.exists('mark') else 'second', flush=True)\n"
    app += "open('mark', 'w').close()\n" + SERVER % ("w", OWN_PORT)
    real.run(real.built(repository({**APP, "app.py": app}).url))
    real.ready()
    real.jobs("POST", "/jobs/web/restart")
    until(lambda: real.jobs("GET", "/jobs/web/logs").text.count("first") == 2)
    assert "second" not in real.jobs("GET", "/jobs/web/logs").text


def test_a_running_jobs_image_survives_clean_until_the_job_ends(real: Account, repository) -> None:
    real.run(real.built(repository(APP).url), publish="/")
    real.ready()
    images = real.toolforge.settings.state / "images" / "one"
    real.builds("POST", "/clean")
    assert list(images.iterdir())
    assert real.visit().status_code == 200
    real.jobs("DELETE", "/jobs/web")
    until(lambda: not list(images.iterdir()))


def test_health_check_scripts_run_beside_the_process(real: Account, repository) -> None:
    image = real.built(repository(APP).url)
    real.run(image, health_check={"type": "script", "script": "test -f Procfile"})
    real.ready()
    real.run(image, health_check={"type": "http", "path": "/missing"})
    until(lambda: real.job()["status"]["short"] == "running")
    assert real.job()["status_short"] == "Not running"
    assert error_of(real.run(image, port=None, health_check={"type": "http", "path": "/"}))


def _wheel(folder):
    """A wheel that needs nothing, made by hand."""
    import zipfile

    folder.mkdir()
    path = folder / "little-1.0-py3-none-any.whl"
    info = "little-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("little.py", "WORD = 'found the little package'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: little\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
