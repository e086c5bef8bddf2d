"""Node.js: its version, its package managers, its packages. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import Cause, Confidence, Sign

_BUILDPACK = "heroku/buildpacks-nodejs"
_NPM, _YARN, _PNPM = "npm/cli", "yarnpkg", "pnpm/pnpm"
#: With these words the buildpack gives up for what npm, Yarn or pnpm have said before.
INSTALL = r"\s*! Failed to install Node modules"
_SCRIPT = r"\s*! Failed to execute build script"
_GAVE_UP = rf"(?:{INSTALL}|{_SCRIPT})"
#: Before version 10 of npm it was ``ERR!``.
_ERROR = r"\s*npm (?:error|ERR!) "


def _banner(text: str) -> Sign:
    return Sign(rf"\s*! {text}", f"! {text}")


CAUSES = (
    Cause(
        "node-version-missing",
        "Toolforge's builder does not have Node.js {version}, which package.json asks for",
        "Change `engines.node` in `package.json` to a version that the builder has, such as the one that "
        "`main` builds with.",
        (
            Sign(
                r"\s*! Unknown Node\.js version:? `?(?P<version>[^`\s][^`]*?)`?$",
                "! Unknown Node.js version: `99.x`",
            ),
            _banner("Unknown Node.js version"),
        ),
        _BUILDPACK,
        otherwise={"version": "the version"},
    ),
    Cause(
        "node-version-eol",
        "Node.js {version}, which package.json asks for, has reached its end of life",
        "Change `engines.node` in `package.json` to a version that is still supported.",
        (_banner("Node.js version not supported"),),
        _BUILDPACK,
        details=(r"\s*! Node\.js (?P<version>\d[\w.]*) reached end-of-life",),
        otherwise={"version": "the version"},
    ),
    Cause(
        "node-registry-away",
        "the registry of Node.js packages could not be reached",
        "Build it again later.",
        (
            Sign(
                rf"{_ERROR}code (?:ECONNRESET|ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EAI_AGAIN|EAI_FAIL|"
                r"ERR_SOCKET_TIMEOUT|E50\d)",
                "npm error code ECONNRESET",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*(?:error An unexpected error occurred: \"https://registry\.|\s*ERR_PNPM_META_FETCH_FAIL|"
                r"\s*ERR_PNPM_FETCH_50\d)",
                " ERR_PNPM_META_FETCH_FAIL  GET https://registry.npmjs.org/ms: request failed",
                closed_by=_GAVE_UP,
            ),
        ),
        f"{_NPM}, {_YARN}/yarn, {_PNPM}",
        confidence=Confidence.LIKELY,
        is_elsewhere=True,
    ),
    Cause(
        "node-download-failed",
        "the builder could not download Node.js",
        "Build it again later.",
        (
            _banner("Failed to download Node.js distribution"),
            _banner("Failed to download npm"),
        ),
        _BUILDPACK,
        is_elsewhere=True,
    ),
    Cause(
        "node-package-json-invalid",
        "package.json cannot be read",
        "Correct it: the lines say where; a merge conflict may be left in it.",
        (
            Sign(
                r"\s*! (?:Error|Failed) (?:parsing|to parse) `?\./?package\.json",
                "! Error parsing `./package.json`",
            ),
            Sign(
                rf"{_ERROR}(?:code EJSONPARSE|JSON\.parse )", "npm error code EJSONPARSE", closed_by=_GAVE_UP
            ),
        ),
        f"{_BUILDPACK}, {_NPM}",
    ),
    Cause(
        "node-lockfiles-several",
        "the repository has lock files of more than one Node.js package manager",
        "Keep exactly one of `package-lock.json`, `yarn.lock` and `pnpm-lock.yaml`.",
        (_banner("Multiple lockfiles detected"),),
        _BUILDPACK,
        details=(r"\s*! The following lockfiles were found",),
    ),
    Cause(
        "node-lock-missing",
        "the repository has no lock file of its Node.js packages",
        "Run `npm install`, and commit `package-lock.json`.",
        (
            _banner("Missing lockfile"),
            Sign(
                rf"{_ERROR}The `npm ci` command can only install with an existing package-lock\.json",
                "npm error The `npm ci` command can only install with an existing package-lock.json or",
                closed_by=_GAVE_UP,
            ),
        ),
        f"{_BUILDPACK}, {_NPM}",
    ),
    Cause(
        "node-lock-outdated",
        "the lock file does not fit package.json",
        "Run `npm install`, `yarn install` or `pnpm install`, and commit the lock file with the change.",
        (
            Sign(
                rf"{_ERROR}`npm ci` can only install packages when your package\.json and package-lock\.json",
                "npm error `npm ci` can only install packages when your package.json and package-lock.json or "
                "npm-shrinkwrap.json are in sync. Please update your lock file with `npm install` before "
                "continuing.",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`",
                "error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r".*YN0028: .*The lockfile would have been modified by this install",
                "\u27a4 YN0028: \u2502 The lockfile would have been modified by this install, which is "
                "explicitly forbidden.",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*\[?ERR_PNPM_OUTDATED_LOCKFILE",
                ' ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because pnpm-lock.yaml is '
                "not up to date with package.json",
                closed_by=_GAVE_UP,
            ),
        ),
        f"{_NPM}, {_YARN}/yarn, {_YARN}/berry, {_PNPM}",
        details=(rf"{_ERROR}(?:Missing: |Invalid: lock file's )",),
    ),
    Cause(
        "node-hash-mismatch",
        "a Node.js package is not the one that was locked: its checksum differs",
        "Look at that package before you trust it. Where the lock file was changed by hand, write it anew with "
        "`npm install`.",
        (
            Sign(rf"{_ERROR}code EINTEGRITY", "npm error code EINTEGRITY", closed_by=_GAVE_UP),
            Sign(
                r".*YN0018: ",
                "\u27a4 YN0018: \u2502 ms@npm:2.1.3: The remote archive doesn't match the expected checksum",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*\[?ERR_PNPM_TARBALL_INTEGRITY",
                " ERR_PNPM_TARBALL_INTEGRITY  Got unexpected checksum for",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*error Integrity check failed for \"",
                'error Integrity check failed for "ms" (computed integrity doesn\'t match our records',
                closed_by=_GAVE_UP,
            ),
        ),
        f"{_NPM}, {_YARN}/yarn, {_YARN}/berry, {_PNPM}",
        details=(rf"{_ERROR}.*integrity checksum failed|{_ERROR}Integrity checksum failed",),
    ),
    Cause(
        "node-dependency-conflict",
        "Node.js packages that the repository asks for exclude each other",
        "The lines name them and what they need: change the version of one of them.",
        (Sign(rf"{_ERROR}code ERESOLVE", "npm error code ERESOLVE", closed_by=_GAVE_UP),),
        _NPM,
        details=(rf"{_ERROR}Found: ", rf"{_ERROR}peer "),
    ),
    Cause(
        "node-dependency-not-found",
        "the Node.js package {package} is not to be had",
        "Correct its name or its version in `package.json`.",
        (
            Sign(
                rf"{_ERROR}notarget No matching version found for (?P<package>\S+?)\.?$",
                "npm error notarget No matching version found for ms@99.1.3.",
                closed_by=_GAVE_UP,
            ),
            Sign(
                rf"{_ERROR}404\s+(?:The requested resource )?'(?P<package>[^']+)' (?:could not be|is not)",
                "npm error 404  The requested resource 'nosuch@1' could not be found or you do not have "
                "permission to access it.",
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*error Couldn't find (?:any versions for|package) \"(?P<package>[^\"]+)\"",
                'error Couldn\'t find any versions for "ms" that matches "99.1.3"',
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*\[?ERR_PNPM_(?:NO_MATCHING_VERSION|FETCH_404)\]?\s+(?:No matching version found for "
                r"(?P<package>\S+))?",
                " ERR_PNPM_NO_MATCHING_VERSION  No matching version found for ms@99.1.3",
                closed_by=_GAVE_UP,
            ),
        ),
        f"{_NPM}, {_YARN}/yarn, {_PNPM}",
        otherwise={"package": "that is wanted"},
    ),
    Cause(
        "node-engine-excluded",
        "a Node.js package does not allow the Node.js that it is built with",
        "Let `engines.node` in `package.json` and what the package requires fit each other.",
        (
            Sign(rf"{_ERROR}code EBADENGINE", "npm error code EBADENGINE", closed_by=_GAVE_UP),
            Sign(
                r"\s*error \S+: The engine \"node\" is incompatible with this module",
                'error vite@7.0.0: The engine "node" is incompatible with this module. Expected version '
                '"^20.19.0 || >=22.12.0". Got "18.20.4"',
                closed_by=_GAVE_UP,
            ),
            Sign(
                r"\s*\[?ERR_PNPM_UNSUPPORTED_ENGINE",
                " ERR_PNPM_UNSUPPORTED_ENGINE  Unsupported environment (bad pnpm and/or Node.js version)",
                closed_by=_GAVE_UP,
            ),
        ),
        f"{_NPM}, {_YARN}/yarn, {_PNPM}",
        details=(rf"{_ERROR}engine Not compatible", rf"{_ERROR}notsup Required", rf"{_ERROR}notsup Actual"),
    ),
    Cause(
        "node-memory",
        "Node.js had no memory left during the build",
        "Make the build smaller: fewer entry points, no source maps, no type check within the build.",
        (
            Sign(
                r".*FATAL ERROR: .*JavaScript heap out of memory",
                "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
                closed_by=_GAVE_UP,
            ),
        ),
        "nodejs/node",
    ),
    Cause(
        "node-script-missing",
        "package.json has no script {script}",
        "Add it under `scripts` in `package.json`, or do not call it.",
        (
            Sign(
                rf"{_ERROR}Missing script: \"(?P<script>[^\"]+)\"",
                'npm error Missing script: "build"',
                closed_by=_GAVE_UP,
            ),
        ),
        _NPM,
    ),
    Cause(
        "node-build-module-missing",
        "the build needs the Node.js module {module}, which is not installed",
        "Add it to `dependencies` in `package.json`, and commit the lock file with the change.",
        (
            Sign(
                r".*Cannot find (?:module|package) '(?P<module>[^'./][^']*)'",
                "Error: Cannot find module 'vite'",
                closed_by=_SCRIPT,
            ),
            Sign(
                r"\s*sh: (?:\d+: |line \d+: )?(?P<module>[\w./-]+): (?:command )?not found",
                "sh: 1: vite: not found",
                closed_by=_SCRIPT,
            ),
        ),
        "nodejs/node, dash, bash",
    ),
    Cause(
        "node-native-build",
        "a Node.js package could not be compiled",
        "Ask for a version of it that has a ready binary for the Node.js that it is built with; the lines before "
        "say what was missing.",
        (
            Sign(
                rf"{_ERROR}gyp (?:ERR! (?:stack|not ok)|failed)",
                "npm error gyp ERR! stack Error: not found: make",
                closed_by=INSTALL,
            ),
            Sign(r"\s*gyp ERR! (?:stack|not ok)", "gyp ERR! not ok", closed_by=INSTALL),
        ),
        "nodejs/node-gyp",
    ),
    Cause(
        "node-build-script-failed",
        "the build script of package.json failed",
        "Run the same script on a machine of yours; the lines before say what it did not like.",
        (Sign(_SCRIPT, "! Failed to execute build script - `build`"),),
        _BUILDPACK,
    ),
    Cause(
        "node-install-failed",
        "the Node.js packages could not be installed",
        "Run `npm ci` on the same commit; the lines before say what went wrong.",
        (Sign(INSTALL, "! Failed to install Node modules"),),
        _BUILDPACK,
    ),
)
