"""A job that does not start, does not get ready, or answers a check wrongly. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import TOOLFORGE, Cause, Confidence, Sign

_OF_PYTHON = r"(?:[\w.]+\.)?"
_LOCALHOST = r"(?:127\.0\.0\.1|localhost|\[::1\])"
_ANYWHERE = r"(?:0\.0\.0\.0|\*|\[::\]|:::|)"
_BIND = (
    "Let it listen on all addresses and on the port in `$PORT`, such as with `web: gunicorn --bind=0.0.0.0:$PORT "
    "app:app` in the `Procfile`."
)


def _words(pattern: str, example: str) -> Sign:
    """What Toolforge says of the job."""
    return Sign(pattern, example, places=(TOOLFORGE,))


COMMAND = (
    Cause(
        "start-no-web",
        "the command '{command}' was not found",
        "Add a line `web: …` to the `Procfile` at the top of the repository, with the command that starts the "
        "tool; or name the command as `command` in `.toolforge-preview.yaml`.",
        (
            Sign(
                r'.*failed to launch: path lookup: exec: "(?P<command>[\w-]+)": executable file not found',
                'ERROR: failed to launch: path lookup: exec: "web": executable file not found in $PATH',
            ),
            Sign(
                r".*failed to launch: determine start command: when there is no default process",
                "ERROR: failed to launch: determine start command: when there is no default process a command is "
                "required",
            ),
        ),
        "buildpacks/lifecycle",
        otherwise={"command": "web"},
    ),
    Cause(
        "start-command-not-found",
        "the program '{program}', which the Procfile calls, is not in the image",
        "Name the package that brings it in the dependencies (`gunicorn` in `requirements.txt`, for example), or "
        "correct the command in the `Procfile`.",
        (
            Sign(
                r"\s*(?:/bin/)?(?:ba|da)?sh: (?:line )?\d+: (?:exec: )?(?P<program>[\w./-]+): (?:command )?not found",
                "bash: line 1: gunicorn: command not found",
            ),
            Sign(
                r".*failed to launch: path lookup: exec: \"(?P<program>[^\"]+)\": (?:executable file not|no such)",
                'ERROR: failed to launch: path lookup: exec: "./run.sh": no such file or directory',
            ),
            Sign(
                r"\s*(?:/bin/)?(?:ba|da)?sh: (?:line )?\d+: (?P<program>[\w./-]+): (?:No such file|Permission denied)",
                "bash: line 1: ./run.sh: Permission denied",
            ),
        ),
        "bash, dash, buildpacks/lifecycle",
    ),
    Cause(
        "start-script-missing",
        "package.json has no script {script}, which the Procfile calls",
        "Add it under `scripts` in `package.json`, or correct the command in the `Procfile`.",
        (
            Sign(
                r"\s*npm (?:error|ERR!) Missing script: \"(?P<script>[^\"]+)\"",
                'npm error Missing script: "start"',
            ),
        ),
        "npm/cli",
    ),
    Cause(
        "start-app-not-found",
        "the web server starts, but does not find the application in the code",
        "Correct the name of the module or of the variable in the command of the `Procfile`: for gunicorn and "
        "uvicorn it is `module:variable`.",
        (
            Sign(
                r"\s*(?:gunicorn\.errors\.AppImportError: )?Failed to find attribute '",
                "Failed to find attribute 'app' in 'app'.",
            ),
            Sign(
                r".*Error loading ASGI app\. ",
                'ERROR:    Error loading ASGI app. Could not import module "main".',
            ),
            Sign(
                r"\s*Error: (?:Could not locate a Flask application|Failed to find Flask application|Could not "
                r"import '|While importing ')",
                "Error: Could not locate a Flask application. Use the 'flask --app' option",
            ),
        ),
        "benoitc/gunicorn, encode/uvicorn, pallets/flask",
    ),
)

NEEDS = (
    Cause(
        "start-envvar-missing",
        "the envvar {name} is not set, and the tool does not start without it",
        "Name it with a value that may be public under `run.envvars` in `.toolforge-preview.yaml`, have a Maintainer "
        "set it as a secret of the project (forks do not get those), or let the tool start without it. Envvars of "
        "the real tool are not in a preview.",
        (
            Sign(
                r'\s*File "(?:<frozen os>|\S*/os\.py)", line \d+, in __getitem__',
                '  File "<frozen os>", line 714, in __getitem__',
                closed_by=r"KeyError: '",
            ),
            Sign(
                r"(?:decouple\.)?UndefinedValueError: (?P<name>\w+) not found",
                "decouple.UndefinedValueError: SECRET_KEY not found. Declare it as envvar or define a default value.",
            ),
            Sign(
                rf"{_OF_PYTHON}ImproperlyConfigured: Set the (?P<name>\w+) environment variable",
                "django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY environment variable",
            ),
            Sign(
                rf"{_OF_PYTHON}ImproperlyConfigured: The (?P<name>SECRET_KEY) setting must not be empty",
                "django.core.exceptions.ImproperlyConfigured: The SECRET_KEY setting must not be empty.",
            ),
            Sign(
                r"environs\.(?:exceptions\.)?Env\w*Error: Environment variable \"(?P<name>\w+)\" not set",
                'environs.exceptions.EnvError: Environment variable "SECRET_KEY" not set',
            ),
            Sign(
                r".*key not found: \"(?P<name>[A-Z][A-Z0-9_]+)\" \(KeyError\)",
                'config.ru:3:in `fetch\': key not found: "SECRET_KEY" (KeyError)',
            ),
        ),
        "CPython, HBNetwork/python-decouple, joke2k/django-environ, sloria/environs, Ruby",
        details=(r"KeyError: '(?P<name>[^']+)'",),
        otherwise={"name": "that the lines name"},
    ),
    Cause(
        "start-setting-missing",
        "the setting {name} has no value, and the tool does not start without it",
        "Name its envvar with a value that may be public under `run.envvars` in `.toolforge-preview.yaml`, or give "
        "it a default.",
        (
            Sign(
                r"(?:pydantic_core\._pydantic_core\.|pydantic\.\w+\.)?ValidationError: \d+ validation errors? for "
                r"\w*(?:Settings|Config)",
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings",
                closed_by=r"\s+(?:Field required|field required)",
            ),
        ),
        "pydantic/pydantic-settings",
        details=(r"(?P<name>[A-Za-z_]\w*)$",),
        otherwise={"name": "that the lines name"},
    ),
    Cause(
        "start-envvar-said-missing",
        "the tool says that the envvar {name} is not set",
        "Name it with a value that may be public under `run.envvars` in `.toolforge-preview.yaml`, have a Maintainer "
        "set it as a secret of the project (forks do not get those), or let the tool start without it. Envvars of "
        "the real tool are not in a preview.",
        (
            Sign(
                r"(?i:.*(?:missing|required|no) (?:required )?env(?:ironment)?[ _-]?var(?:iable)?s?\b)\W*"
                r"(?P<name>[A-Z][A-Z0-9_]+)",
                "Error: Missing required environment variable: API_KEY",
            ),
            Sign(
                r"(?i:.*env(?:ironment)?[ _-]?var(?:iable)?s?) \W?(?P<name>[A-Z][A-Z0-9_]+)\W? (?i:(?:is |was )?"
                r"(?:not (?:set|found|defined)|missing|required|undefined|must be set))",
                "RuntimeError: environment variable API_KEY is not set",
            ),
            Sign(
                r".*\b(?P<name>[A-Z][A-Z0-9]*_[A-Z0-9_]+)\W? (?i:(?:environment variable|env var) (?:is |was )?"
                r"(?:not (?:set|found|defined)|missing|required|undefined|must be set))",
                "panic: API_KEY environment variable must be set",
            ),
        ),
        "the tools' own words",
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "start-module-missing",
        "the module {module} is not in the image",
        "Name the package that brings it in the dependencies (`requirements.txt`, `package.json`, `Gemfile`, …); "
        "development dependencies are not installed. Where it is a file of the repository, correct its name.",
        (
            Sign(
                r"(?:E +)?ModuleNotFoundError: No module named '(?P<module>[^']+)'",
                "ModuleNotFoundError: No module named 'requests'",
            ),
            Sign(
                r"\s*(?:Error|Error \[ERR_MODULE_NOT_FOUND\]): Cannot find (?:module|package) '(?P<module>[^']+)'",
                "Error: Cannot find module 'express'",
            ),
            Sign(
                r".*cannot load such file -- (?P<module>\S+)",
                "config.ru:1:in `require': cannot load such file -- sinatra (LoadError)",
            ),
            Sign(
                r".*Failed opening required '(?P<module>[^']+)'",
                "PHP Fatal error:  Uncaught Error: Failed opening required '/workspace/vendor/autoload.php'",
            ),
        ),
        "CPython, nodejs/node, Ruby, PHP",
    ),
    Cause(
        "start-database-away",
        "the tool could not use its database",
        "A preview has the database user of its dev account, and none of the real tool's databases: let it start "
        "without one, or name another under `run.envvars` in `.toolforge-preview.yaml`.",
        (
            Sign(
                rf"{_OF_PYTHON}OperationalError: .*(?:Can't connect to|[Cc]ould not connect to|connection to server "
                r"at|Access denied for user|Unknown database|Unknown MySQL server host|could not translate host)",
                "pymysql.err.OperationalError: (2003, \"Can't connect to MySQL server on 'tools.db'\")",
            ),
            Sign(
                rf"{_OF_PYTHON}ConnectionError: Error \S+ connecting to ",
                "redis.exceptions.ConnectionError: Error 111 connecting to localhost:6379. Connection refused.",
            ),
            Sign(
                r".*(?:Error: connect ECONNREFUSED|SQLSTATE\[HY000\] \[(?:2002|1045)\]|Mysql2::Error|"
                r"PG::ConnectionBad)",
                "Error: connect ECONNREFUSED 127.0.0.1:5432",
            ),
        ),
        "PyMySQL, psycopg, redis-py, nodejs/node, PHP, Ruby",
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "start-port-forbidden",
        "the tool may not listen on the port that it wants",
        f"Ports below 1024 are the operating system's. {_BIND}",
        (
            Sign(
                r".*(?:listen EACCES: permission denied|Permission denied: \('0\.0\.0\.0', \d+\)|"
                r"bind: permission denied|\[Errno 13\] .*bind)",
                "Error: listen EACCES: permission denied 0.0.0.0:80",
            ),
        ),
        "nodejs/node, CPython, golang/go",
    ),
    Cause(
        "start-port-taken",
        "the tool starts two servers on one port",
        "Start one server only: the lines say which port is taken already.",
        (
            Sign(
                r".*(?:EADDRINUSE|[Aa]ddress already in use)",
                "Error: listen EADDRINUSE: address already in use :::8000",
            ),
        ),
        "nodejs/node, CPython, benoitc/gunicorn",
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "start-memory",
        "the tool was ended because it took too much memory",
        "Ask for more as `run.memory` in `.toolforge-preview.yaml`, or start fewer workers.",
        (
            Sign(
                r".*(?:JavaScript heap out of memory|java\.lang\.OutOfMemoryError|was sent SIGKILL! Perhaps out of "
                r"memory)",
                "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?",
            ),
            Sign(r"MemoryError\b", "MemoryError"),
            _words(r".*OOMKilled", "Reason 'OOMKilled'."),
        ),
        "nodejs/node, openjdk/jdk, benoitc/gunicorn, CPython, Kubernetes",
    ),
)

#: Where the log of a process that exited shows no cause.
EXITS = (
    Cause(
        "start-not-found",
        "the command '{command}' was not found",
        "Add a line `web: …` to the `Procfile` at the top of the repository, with the command that starts the "
        "tool; or name the command as `command` in `.toolforge-preview.yaml`.",
        (_words(r"exit code 127$", "exit code 127"),),
        "buildpacks/lifecycle, bash",
        otherwise={"command": "web"},
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "start-killed",
        "the web process was ended by force",
        "It has to listen on 0.0.0.0, on the port in `$PORT`, soon after its start, and to make do with the memory "
        "that Toolforge gives it (`run.memory` in `.toolforge-preview.yaml`).",
        (_words(r"exit code (?:137|143)$", "exit code 137"),),
        "Kubernetes",
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "start-ended",
        "the web process ended by itself, without an error",
        "It has to keep running and to listen on the port in `$PORT`: start the server in the foreground.",
        (_words(r"exit code 0$", "exit code 0"),),
        "Kubernetes",
    ),
)

HEALTH = Cause(
    "health-check-failing",
    "the tool answers the health check {path} with {status}",
    "Let it answer with 200 there without a login or a redirect, or name another path as `health` in "
    "`.toolforge-preview.yaml`.",
    (
        Sign(
            r".*\"(?:GET|HEAD) (?P<path>/\S*) HTTP/[\d.]+\" (?P<status>[45]\d\d)\b",
            '10.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /healthz HTTP/1.1" 404 9',
        ),
    ),
    "the access logs of gunicorn, uvicorn, Werkzeug, nginx",
)

UNREADY = (
    Cause(
        "listens-on-wrong-port",
        "the tool listens on port {port}, and not on the one in $PORT",
        _BIND,
        (
            Sign(
                r".*Running on all addresses",
                " * Running on all addresses (0.0.0.0)",
            ),
            Sign(
                rf".*(?:Listening at:|[Rr]unning on|Serving on|Listening on) https?://{_ANYWHERE}:(?P<port>\d+)",
                "[INFO] Listening at: http://0.0.0.0:5000 (7)",
            ),
            Sign(
                r".*(?i:listening|running|serving|started|available)\b.* (?i:port|http://localhost|http://0\.0\.0\.0)"
                r"[ :]*(?P<port>\d+)",
                "Server listening on port 3000",
            ),
            Sign(r".*\bLocal: +http://localhost:(?P<port>\d+)", "  - Local:        http://localhost:3000"),
        ),
        "benoitc/gunicorn, encode/uvicorn, pallets/werkzeug, the tools' own words",
        details=(r"\s*\* Running on http://127\.0\.0\.1:(?P<port>\d+)",),
        otherwise={"port": "of its own"},
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "listens-on-localhost",
        "the tool listens on 127.0.0.1 only, where Toolforge does not reach it",
        _BIND,
        (
            Sign(
                rf".*(?:Listening at:|[Rr]unning on|Serving on|Listening on|development server at) "
                rf"https?://{_LOCALHOST}:(?P<port>\d+)",
                "[INFO] Listening at: http://127.0.0.1:8000 (7)",
            ),
            Sign(
                rf".*Development Server \(https?://{_LOCALHOST}:(?P<port>\d+)\) started",
                "PHP 8.4.1 Development Server (http://localhost:8000) started",
            ),
            Sign(r".*Network: +use --host to expose", "  \u279c  Network: use --host to expose"),
        ),
        "benoitc/gunicorn, encode/uvicorn, pallets/werkzeug, django/django, vitejs/vite, puma, PHP",
    ),
)

CHECK = (
    Cause(
        "check-host-refused",
        "the tool refuses the preview's host name {host}",
        "Allow it where the tool names its hosts (`ALLOWED_HOSTS`, `config.hosts`, …): previews have the address in "
        "the envvar `PREVIEW_URL`.",
        (
            Sign(
                r".*Invalid HTTP_HOST header: '(?P<host>[^']+)'",
                "Invalid HTTP_HOST header: 'dev-1.toolforge.org'. You may need to add 'dev-1.toolforge.org' to "
                "ALLOWED_HOSTS.",
            ),
            Sign(
                r".*Blocked hosts?: (?P<host>\S+)",
                "[ActionDispatch::HostAuthorization::DefaultResponseApp] Blocked hosts: dev-1.toolforge.org",
            ),
        ),
        "django/django, rails/rails",
    ),
)
