"""PHP and Ruby, built where this machine has the interpreter; other languages are only recognised."""

from __future__ import annotations

import json
import shutil

from deploy.local.toolforge.real.context import BuildContext, Outcome

ONLY_RECOGNISED = {"go": "Go", "java": "Java", "scala": "Scala", "dotnet": ".NET"}


async def build_unsupported(context: BuildContext, language: str) -> Outcome:
    """Always fails, plainly."""
    name = ONLY_RECOGNISED[language]
    raise context.unsupported(name, f"The {name} buildpack would take this repository.")


async def build_php(context: BuildContext) -> Outcome:
    """composer, when there is something to install; PHP's own web server as `web`."""
    if shutil.which("php") is None:
        raise context.unsupported("PHP", "There is no `php` here.")
    context.header("Installing PHP platform packages")
    composer = context.app / "composer.json"
    if composer.is_file():
        try:
            required = json.loads(composer.read_text(encoding="utf-8") or "{}").get("require", {})
        except (ValueError, AttributeError):
            raise context.bang("Failed to parse `composer.json`") from None
        if any("/" in package for package in required):
            await _composer(context)
    public = next((name for name in ("public", "web") if (context.app / name / "index.php").is_file()), ".")
    return Outcome({"web": f"exec php -S 127.0.0.1:$PORT -t {public}"})


async def _composer(context: BuildContext) -> None:
    if shutil.which("composer") is None:
        raise context.unsupported("PHP with dependencies", "There is no `composer` here.")
    if await context.run(["composer", "install", "--no-dev", "--no-interaction", "--no-ansi"], indent="  "):
        raise context.bang("Failed to install dependencies", "See the output of `composer install` above.")


async def build_ruby(context: BuildContext) -> Outcome:
    """bundler into the image's folder; rackup as `web` when there is a config.ru."""
    if shutil.which("ruby") is None or shutil.which("bundle") is None:
        raise context.unsupported("Ruby", "There is no `ruby` with `bundle` here.")
    context.header("Installing Ruby")
    if not (context.app / "Gemfile.lock").is_file():
        raise context.bang("Error: `Gemfile.lock` not found", "Run `bundle install` and commit Gemfile.lock.")
    env = {"BUNDLE_PATH": "vendor/bundle", "BUNDLE_DEPLOYMENT": "1", "BUNDLE_WITHOUT": "development:test"}
    if await context.run(["bundle", "install"], indent="  ", env=env):
        raise context.bang("Error installing your applications's dependencies", "See the log output above.")
    web = "exec bundle exec rackup --host 127.0.0.1 --port $PORT"
    return Outcome({"web": web} if (context.app / "config.ru").is_file() else {}, env)
