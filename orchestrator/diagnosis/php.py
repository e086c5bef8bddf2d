"""PHP: its version and extensions, Composer and its packages. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import Cause, Sign

_SUCH_AS_MAIN = "such as the one that `main` builds with"
_PLATFORM = r"\s*! Failed to install platform dependencies"
_INSTALL = r"\s*! Failed to install dependencies"
_BUILDPACK = "heroku/buildpacks-php"

CAUSES = (
    Cause(
        "php-version-missing",
        "Toolforge's builder does not have PHP {version}, which composer.json or composer.lock asks for",
        f"Change `require.php` in `composer.json` to a version that the builder has, {_SUCH_AS_MAIN}, and run "
        "`composer update --lock`.",
        (
            Sign(
                r".*requires? (?:heroku-sys/)?php (?P<version>\S+) (?:.*could not be found|"
                r"-> found|.*but it does not match)",
                "    - Root composer.json requires heroku-sys/php ^9.0 -> found heroku-sys/php[8.1.0, 8.4.1] but "
                "it does not match the constraint.",
                closed_by=_PLATFORM,
            ),
            Sign(
                r".*requires php (?P<version>\S+) but your php version",
                "    - Root composer.json requires php ^9.0 but your php version (8.4.1) does not satisfy that "
                "requirement.",
                closed_by=_INSTALL,
            ),
            Sign(
                r".*requires php (?P<version>\S+) -> your php version",
                "    - acme/tool 1.0 requires php ^9.0 -> your php version (8.4.1) does not satisfy that "
                "requirement.",
                closed_by=_INSTALL,
            ),
        ),
        f"{_BUILDPACK}, composer/composer",
    ),
    Cause(
        "php-extension-missing",
        "the PHP extension {extension} is not to be had",
        "Add `ext-…` of that name to `require` in `composer.json`, if the builder has it for this PHP; else do "
        "without the package that needs it.",
        (
            Sign(
                r".*requires? (?:heroku-sys/)?ext-(?P<extension>\w+) .*"
                r"(?:missing from your system|could not be found|does not match)",
                "    - Root composer.json requires ext-imap * but it is missing from your system.",
                closed_by=rf"(?:{_PLATFORM}|{_INSTALL})",
            ),
            Sign(
                r".*requires PHP extension ext-(?P<extension>\w+)",
                "    - Root composer.json requires PHP extension ext-imap * but it is missing from your system.",
                closed_by=rf"(?:{_PLATFORM}|{_INSTALL})",
            ),
        ),
        f"{_BUILDPACK}, composer/composer",
    ),
    Cause(
        "php-platform-unresolvable",
        "Toolforge's builder does not have what composer.json or composer.lock asks of PHP and its extensions",
        f"Ask for a PHP and for extensions that the builder has, {_SUCH_AS_MAIN}; the lines name them.",
        (Sign(_PLATFORM, "! Failed to install platform dependencies"),),
        _BUILDPACK,
        details=(r"\s*-? ?Root composer\.json requires ", r".*requires heroku-sys/"),
    ),
    Cause(
        "php-lock-missing",
        "the repository has a composer.json with dependencies, but no composer.lock",
        "Run `composer update`, and commit `composer.lock`.",
        (Sign(r"\s*! No Composer lock file found", "! No Composer lock file found"),),
        _BUILDPACK,
    ),
    Cause(
        "php-composer-json-invalid",
        "{file} cannot be read",
        "Correct it: `composer validate` says where; a merge conflict may be left in it.",
        (
            Sign(
                r"\s*! Failed to parse ['`](?P<file>[\w./-]+)['`]",
                "! Failed to parse 'composer.json'",
            ),
        ),
        _BUILDPACK,
    ),
    Cause(
        "php-lock-outdated",
        "composer.lock does not fit composer.json",
        "Run `composer update --lock`, and commit `composer.lock` with the change.",
        (
            Sign(
                r"\s*- Required (?:\(in require-dev\) )?package \"[^\"]+\" (?:is not present|is in the lock)",
                '- Required package "monolog/monolog" is not present in the lock file.',
                closed_by=_INSTALL,
            ),
        ),
        "composer/composer",
    ),
    Cause(
        "php-dependency-conflict",
        "the packages of composer.json are not to be had, or exclude each other",
        "The lines name them: change the version of one of them, and run `composer update`.",
        (
            Sign(
                r"\s*Your (?:requirements could not be resolved to an installable|lock file does not contain a "
                r"compatible) set of packages",
                "Your requirements could not be resolved to an installable set of packages.",
                closed_by=_INSTALL,
            ),
        ),
        "composer/composer",
        details=(r"\s*- .+(?: requires | could not be found | is locked to )",),
    ),
    Cause(
        "php-install-failed",
        "the PHP dependencies could not be installed",
        "Run `composer install --no-dev` on the same commit; the lines before say what went wrong.",
        (Sign(_INSTALL, "! Failed to install dependencies"),),
        _BUILDPACK,
    ),
)
