"""Python: its version, its package managers, its packages. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import Cause, Confidence, Sign

_BUILDPACK = "heroku/buildpacks-python"
_PIP, _UV, _POETRY = "pypa/pip", "astral-sh/uv", "python-poetry/poetry"
#: With these words the buildpack gives up for what pip, Poetry or uv have said before.
INSTALL = r"\[Error: Unable to install dependencies using (?:pip|Poetry|uv)\]"
_SET_VERSION = (
    "Set `.python-version` to a version that the builder has, such as the one that `main` builds with"
)
_PACKAGE = r"(?P<package>[^\s\[;(]+)"


def _title(title: str, **values: str) -> Sign:
    return Sign(rf"\[Error: {title}\]", f"[Error: {title}]", values=values)


VERSION = (
    Cause(
        "python-version-missing",
        "Toolforge's builder does not have Python {version}, which {file} asks for",
        f"{_SET_VERSION}; a newer one can come when Toolforge's builder has it.",
        (
            _title("The requested Python version isn't available"),
            _title("The requested Python version isn't recognised"),
            _title("Requested Python version is not available"),
        ),
        _BUILDPACK,
        details=(
            r"The requested Python version \(?(?:python-)?(?P<version>\d[\w.]*\w)",
            r".*version in your (?P<file>[\w./-]+) file",
            r"Using Python \S+ specified in (?P<file>[\w./-]+)$",
        ),
        otherwise={"version": "the version", "file": "the repository"},
    ),
    Cause(
        "python-version-eol",
        "Python {version}, which {file} asks for, has reached its end of life",
        "Set `.python-version` to a newer version, such as the one that `main` builds with.",
        (_title("The requested Python version has reached end-of-life"),),
        _BUILDPACK,
        details=(
            r"Python (?P<version>\d[\w.]*\w) has reached its upstream end-of-life",
            r".*version in your (?P<file>[\w./-]+) file",
            r"Using Python \S+ specified in (?P<file>[\w./-]+)$",
        ),
        otherwise={"version": "the version", "file": "the repository"},
    ),
    Cause(
        "python-version-invalid",
        "{file} does not name a Python version as the builder reads it",
        "Write nothing into it but the version, such as `3.13`.",
        (
            Sign(
                r"\[Error: Invalid Python version in (?P<file>[\w./-]+)\]",
                "[Error: Invalid Python version in .python-version]",
            ),
        ),
        _BUILDPACK,
    ),
    Cause(
        "python-version-unpinned",
        "the repository uses uv and names no Python version",
        "Add a `.python-version` with the version, such as `3.13`.",
        (_title("No Python version was specified"),),
        _BUILDPACK,
    ),
    Cause(
        "python-runtime-txt",
        "the builder does not read runtime.txt any more",
        "Delete `runtime.txt` and name the version in `.python-version`, such as `3.13`.",
        (_title("The runtime.txt file isn't supported"),),
        _BUILDPACK,
    ),
    Cause(
        "python-version-excluded",
        "the project does not allow Python {version}, with which it is built",
        "Let `.python-version` and what the project requires of Python (`requires-python` in "
        "`pyproject.toml`) fit each other.",
        (
            Sign(
                r"\s*error: The requested interpreter resolved to Python (?P<version>\d[\w.]*\w), which is "
                r"incompatible with the project's Python requirement",
                "error: The requested interpreter resolved to Python 3.11.7, which is incompatible with the "
                "project's Python requirement: `>=3.15` (from `project.requires-python`)",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*Current Python version \((?P<version>\d[\w.]*\w)\) is not allowed by the project",
                "Current Python version (3.11.7) is not allowed by the project (>=3.15,<4).",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*ERROR: Package '[^']+' requires a different Python: (?P<version>\d[\w.]*\w) not in",
                "ERROR: Package 'tool' requires a different Python: 3.11.7 not in '>=3.15'",
                closed_by=INSTALL,
            ),
        ),
        f"{_UV}, {_POETRY}, {_PIP}",
    ),
)

MANAGERS = (
    Cause(
        "python-two-package-managers",
        "the repository has files of more than one Python package manager",
        "Keep exactly one of `requirements.txt`, `poetry.lock` and `uv.lock`.",
        (_title("Multiple Python package manager files were found"),),
        _BUILDPACK,
    ),
    Cause(
        "python-no-package-manager",
        "the repository looks like Python, but names no dependencies in a way that the builder reads",
        "Add a `requirements.txt` (it may be empty), `poetry.lock` or `uv.lock` at its top. Pipenv's files are "
        "not read.",
        (
            _title("Couldn't find any supported Python package manager files"),
            _title("No Python package manager files were found"),
        ),
        _BUILDPACK,
    ),
    Cause(
        "python-lock-outdated",
        "the lock file does not fit pyproject.toml",
        "Run `uv lock` or `poetry lock`, and commit the lock file with the change.",
        (
            Sign(
                r"\s*error: The lockfile at `uv\.lock` needs to be updated",
                "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*pyproject\.toml changed significantly since poetry\.lock was last generated",
                "pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock` "
                "to fix the lock file.",
                closed_by=INSTALL,
            ),
        ),
        f"{_UV}, {_POETRY}",
    ),
)

OUTAGES = (
    Cause(
        "python-index-away",
        "the index of Python packages could not be reached",
        "Build it again later.",
        (
            Sign(
                r"\s*WARNING: Retrying \(Retry\(total=0,",
                "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after "
                "connection broken by 'ReadTimeoutError(\"HTTPSConnectionPool(host='pypi.org', port=443): Read "
                "timed out. (read timeout=15.0)\")': /simple/flask/",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*ERROR: HTTP error 5\d\d while getting",
                "ERROR: HTTP error 503 while getting https://files.pythonhosted.org/packages/six.whl",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*error: (?:Failed to fetch: `https://pypi\.org/|Request failed after \d+ retries)",
                "error: Request failed after 3 retries",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*All attempts to connect to \S+ failed",
                "All attempts to connect to pypi.org failed.",
                closed_by=INSTALL,
            ),
        ),
        f"{_PIP}, {_UV}, {_POETRY}",
        confidence=Confidence.LIKELY,
        is_elsewhere=True,
    ),
    Cause(
        "python-download-failed",
        "the builder could not download Python or its package manager",
        "Build it again later.",
        (
            _title("Unable to download Python"),
            Sign(
                r"\[Error: Unable to (?:install|bootstrap) (?:pip|Poetry|uv)\]",
                "[Error: Unable to install uv]",
            ),
        ),
        _BUILDPACK,
        is_elsewhere=True,
    ),
)

PACKAGES = (
    Cause(
        "python-hash-mismatch",
        "the hash of a Python package is not the one that was locked",
        "Where the version was changed by hand, write its hashes anew (`pip-compile --generate-hashes`, "
        "`uv lock`, `poetry lock`). Where it was not, look at that package before you trust it.",
        (
            Sign(
                r"\s*ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE",
                "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated "
                "the package versions, please update the hashes.",
                closed_by=INSTALL,
            ),
            Sign(
                r"[\s\x{2502}\x{251c}\x{2570}\x{2500}\x{25b6}>]*(?:cause: )?Hash mismatch for `",
                "  cause: Hash mismatch for `six==1.17.0`",
                closed_by=INSTALL,
            ),
        ),
        f"{_PIP}, {_UV}",
        details=(r"\s+Expected",),
    ),
    Cause(
        "python-hash-missing",
        "requirements.txt has hashes for some packages, but not for all that are needed",
        "Name every package with its hash, those that others need among them: `pip-compile "
        "--generate-hashes` writes such a file.",
        (
            Sign(
                r"\s*ERROR: In --require-hashes mode, all requirements must have their versions pinned",
                "ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==. "
                "These do not:",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*ERROR: Hashes are required in --require-hashes mode",
                "ERROR: Hashes are required in --require-hashes mode, but they are missing from some "
                "requirements.",
                closed_by=INSTALL,
            ),
        ),
        _PIP,
    ),
    Cause(
        "python-dependency-conflict",
        "Python packages that the repository asks for exclude each other",
        "The lines name them and what they need: change the version of one of them.",
        (
            Sign(
                r"\s*ERROR: Cannot install .+ because these package versions have conflicting",
                "ERROR: Cannot install flask==3.0.0 and werkzeug==2.0.0 because these package versions have "
                "conflicting dependencies.",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*ERROR: ResolutionImpossible",
                "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/",
                closed_by=INSTALL,
            ),
        ),
        _PIP,
        details=(r"\s+The user requested ", r"\s+\S+ \S+ depends on "),
    ),
    Cause(
        "python-dependency-needs-other-python",
        "there is no version of the Python package {package} for the Python that it is built with",
        "Ask for a version of it that fits `.python-version`, or for another Python; the lines say what each "
        "version of it requires.",
        (
            Sign(
                r"\s*ERROR: Ignored the following versions that require a different python version",
                "ERROR: Ignored the following versions that require a different python version: 2.1.0 "
                "Requires-Python >=3.12",
                closed_by=INSTALL,
            ),
        ),
        _PIP,
        details=(rf"\s*ERROR: No matching distribution found for {_PACKAGE}",),
        otherwise={"package": "that is wanted"},
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "python-dependency-not-found",
        "the Python package {package} is not to be had",
        "Correct its name or its version; the lines name those that there are.",
        (
            Sign(
                rf"\s*ERROR: No matching distribution found for {_PACKAGE}",
                "ERROR: No matching distribution found for flask==99.0",
                closed_by=INSTALL,
            ),
            Sign(
                rf".*Because {_PACKAGE} was not found in the package registry",
                "  cause: Because nosuchpackage was not found in the package registry and your project depends "
                "on nosuchpackage, we can conclude that your project's requirements are unsatisfiable.",
                closed_by=INSTALL,
            ),
            Sign(
                rf".*depends on {_PACKAGE} \([^)]+\) which doesn't match any versions",
                "Because x depends on idna (>=99) which doesn't match any versions, version solving failed.",
                closed_by=INSTALL,
            ),
        ),
        f"{_PIP}, {_UV}, {_POETRY}",
    ),
    Cause(
        "python-dependency-unsolvable",
        "no versions of the Python packages fit together",
        "The lines tell why; change the version of one of the packages that they name.",
        (
            Sign(
                r"[\s\x{00d7}x]*(?:error: )?No solution found when resolving dependencies",
                "error: No solution found when resolving dependencies",
                closed_by=INSTALL,
            ),
            Sign(
                r".*version solving failed",
                "Because a (1.0) depends on b (>=2) and x depends on b (1.0), version solving failed.",
                closed_by=INSTALL,
            ),
        ),
        f"{_UV}, {_POETRY}",
        details=(r".*Because ",),
    ),
    Cause(
        "python-requirements-invalid",
        "pip cannot read the requirements",
        "Correct the line that it names.",
        (
            Sign(
                r"\s*ERROR: Invalid requirement: ",
                "ERROR: Invalid requirement: 'foo === bar baz': Expected comma",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*ERROR: Could not open requirements file",
                "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'more.txt'",
                closed_by=INSTALL,
            ),
        ),
        _PIP,
    ),
    Cause(
        "python-dependency-repository",
        "a Python package is taken from a git repository that cannot be read",
        "Builds have no credentials: take the package from an index, or from a repository that anybody can "
        "clone.",
        (
            Sign(
                r"\s*fatal: (?:could not read Username for|repository '|unable to access ')",
                "  fatal: could not read Username for 'https://github.com': No such device or address",
                closed_by=INSTALL,
            ),
        ),
        "git/git",
    ),
)

GENERAL = (
    Cause(
        "python-package-does-not-build",
        "the Python package {package} could not be built from its source",
        "Ask for a version of it that has a ready wheel for the Python that it is built with: often a newer "
        "one, or an older Python in `.python-version`. The lines before say what was missing.",
        (
            Sign(
                rf"\s*ERROR: Failed building wheel for {_PACKAGE}",
                "  ERROR: Failed building wheel for numpy",
                closed_by=INSTALL,
            ),
            Sign(
                r"\s*ERROR: Failed to build '(?P<package>[^']+)'",
                "ERROR: Failed to build 'mysqlclient' when getting requirements to build wheel",
                closed_by=INSTALL,
            ),
            Sign(
                r"[\s\x{00d7}x]*(?:error: )?Failed to build `(?P<package>[^`]+)`",
                "  \u00d7 Failed to build `numpy==1.21.0`",
                closed_by=INSTALL,
            ),
        ),
        f"{_PIP}, {_UV}",
        details=(r"\s+error: |.*fatal error: ",),
    ),
    Cause(
        "python-django-static",
        "Django could not gather its static files",
        "Run `python manage.py collectstatic` with no envvars set: the settings must not need any at build "
        "time but those that `.toolforge-preview.yaml` names under `build.envvars`.",
        (
            _title("Unable to generate Django static files"),
            _title("Unable to inspect Django configuration"),
        ),
        _BUILDPACK,
        details=(r"(?:[\w.]+\.)?(?:\w*Error|ImproperlyConfigured|\w*Exception): ",),
    ),
    Cause(
        "python-install-failed",
        "the Python dependencies could not be installed",
        "The lines of the package manager say why; install them on a machine of yours with the same Python.",
        (Sign(INSTALL, "[Error: Unable to install dependencies using pip]"),),
        _BUILDPACK,
    ),
)
