"""Ruby: its version, Bundler and its gems. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import Cause, Confidence, Sign

_SUCH_AS_MAIN = "such as the one that `main` builds with"
_BUILDPACK = "heroku/buildpacks-ruby"
_INSTALL = r"\s*! Error installing your applications?'s dependencies"

CAUSES = (
    Cause(
        "ruby-version-missing",
        "Toolforge's builder does not have Ruby {version}, which the Gemfile asks for",
        f"Change `ruby` in the `Gemfile` to a version that the builder has, {_SUCH_AS_MAIN}, and run `bundle "
        "lock`.",
        (Sign(r"\s*! Error installing Ruby", "! Error installing Ruby"),),
        _BUILDPACK,
        details=(r".*/ruby-(?P<version>\d+\.\d+\.\d+)", r".*Using Ruby version:? `?(?P<version>\d[\d.]*\d)"),
        otherwise={"version": "the version"},
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "ruby-version-excluded",
        "the Gemfile asks for Ruby {version}, and it is built with another",
        "Let `ruby` in the `Gemfile` and `RUBY VERSION` in `Gemfile.lock` be the same.",
        (
            Sign(
                r"\s*Your Ruby version is \S+, but your Gemfile specified (?P<version>.+?)$",
                "Your Ruby version is 3.3.5, but your Gemfile specified 3.4.1",
            ),
        ),
        "rubygems/rubygems",
    ),
    Cause(
        "ruby-lock-missing",
        "the repository has a Gemfile, but no Gemfile.lock",
        "Run `bundle lock`, and commit `Gemfile.lock`.",
        (Sign(r"\s*! Error: `?Gemfile\.lock`? not found", "! Error: `Gemfile.lock` not found"),),
        _BUILDPACK,
    ),
    Cause(
        "ruby-lock-outdated",
        "Gemfile.lock does not fit the Gemfile",
        "Run `bundle lock`, and commit `Gemfile.lock` with the change.",
        (
            Sign(
                r"\s*The (?:dependencies|gemspecs?) .*(?:changed|were updated), but the lockfile can't be",
                "The dependencies in your gemfile changed, but the lockfile can't be updated because frozen mode "
                "is set",
                closed_by=_INSTALL,
            ),
            Sign(
                r"\s*You are trying to install in deployment mode after changing your Gemfile",
                "You are trying to install in deployment mode after changing your Gemfile. Run `bundle install`",
                closed_by=_INSTALL,
            ),
        ),
        "rubygems/rubygems",
    ),
    Cause(
        "ruby-dependency-not-found",
        "the gem {package} is not to be had",
        "Correct its name or its version in the `Gemfile`, and run `bundle lock`.",
        (
            Sign(
                r"\s*Could not find gem '(?P<package>[^']+)' in ",
                "Could not find gem 'nosuchgem' in rubygems repository https://rubygems.org/ or installed locally.",
                closed_by=_INSTALL,
            ),
            Sign(
                r"\s*Could not find (?P<package>[\w.-]+) in (?:any of the sources|locally installed gems)",
                "Could not find nokogiri-1.99.0 in any of the sources",
                closed_by=_INSTALL,
            ),
        ),
        "rubygems/rubygems",
    ),
    Cause(
        "ruby-dependency-conflict",
        "no versions of the gems fit together",
        "The lines name those that exclude each other: change one of them in the `Gemfile`, and run `bundle "
        "lock`.",
        (
            Sign(
                r"\s*(?:Could not find compatible versions|Bundler could not find compatible versions)",
                "Could not find compatible versions",
                closed_by=_INSTALL,
            ),
        ),
        "rubygems/rubygems",
        details=(r"\s*(?:Because|So, because) ",),
    ),
    Cause(
        "ruby-hash-mismatch",
        "a gem is not the one that was locked: its checksum differs",
        "Look at that gem before you trust it; where `Gemfile.lock` was changed by hand, write it anew.",
        (
            Sign(
                r"\s*Bundler found mismatched checksums",
                "Bundler found mismatched checksums. This is a potential security risk.",
                closed_by=_INSTALL,
            ),
        ),
        "rubygems/rubygems",
    ),
    Cause(
        "ruby-gem-does-not-build",
        "the gem {package} could not be built from its source",
        "The lines before say what was missing: often a system package, or a newer version of the gem.",
        (
            Sign(
                r"\s*An error occurred while installing (?P<package>\S+)",
                "An error occurred while installing pg (1.5.9), and Bundler cannot continue.",
                closed_by=_INSTALL,
            ),
        ),
        "rubygems/rubygems",
    ),
    Cause(
        "ruby-assets-failed",
        "the assets could not be compiled",
        "Run `bundle exec rake assets:precompile` on the same commit with no envvars set.",
        (Sign(r"\s*! Error compiling assets", "! Error compiling assets"),),
        _BUILDPACK,
    ),
    Cause(
        "ruby-install-failed",
        "the gems could not be installed",
        "Run `bundle install` on the same commit; the lines before say what went wrong.",
        (Sign(_INSTALL, "! Error installing your applications's dependencies"),),
        _BUILDPACK,
    ),
)
