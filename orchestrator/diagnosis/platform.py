"""What lies between the repository and the buildpacks: git, detection, Procfile, image store, Toolforge. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import TOOLFORGE, Cause, Confidence, Sign

_LIFECYCLE = "buildpacks/lifecycle"
#: The containers that clone the repository.
_CLONE = ("step-clone",)

GIT = (
    Cause(
        "git-not-readable",
        "the repository could not be cloned",
        "Builds have no credentials: the project has to be public, and its submodules, too.",
        (
            Sign(
                r".*Failed to resolve ref",
                "Failed to resolve ref refs/merge-requests/1/head, maybe the repository URL is not public?",
                places=(TOOLFORGE,),
            ),
            Sign(
                r"\s*fatal: could not read Username for",
                "fatal: could not read Username for 'https://gitlab.wikimedia.org': No such device or address",
                places=_CLONE,
            ),
            Sign(
                r"\s*fatal: (?:Authentication failed for|repository '[^']+' not found)",
                "fatal: repository 'https://gitlab.wikimedia.org/toolforge-repos/nosuch.git/' not found",
                places=_CLONE,
            ),
            Sign(
                r"\s*fatal: clone of '[^']+' into submodule path",
                "fatal: clone of 'https://gitlab.wikimedia.org/a/b.git' into submodule path '/workspace/b' failed",
                places=_CLONE,
            ),
        ),
        "git/git",
    ),
    Cause(
        "git-ref-gone",
        "the commit was gone when its build began",
        "It was overtaken by another push, or the branch was deleted: push again.",
        (
            Sign(
                r"\s*fatal: (?:couldn't find remote ref|Remote branch|remote error: upload-pack: not our ref|"
                r"reference is not a tree)",
                "fatal: couldn't find remote ref refs/merge-requests/12/head",
                places=_CLONE,
            ),
        ),
        "git/git",
    ),
    Cause(
        "git-away",
        "GitLab could not be reached for the clone",
        "Build it again later.",
        (
            Sign(
                r"\s*(?:fatal: unable to access '|error: RPC failed|fatal: the remote end hung up|"
                r"ssh: connect to host)",
                "fatal: unable to access 'https://gitlab.wikimedia.org/a/b.git/': The requested URL returned error: "
                "502",
                places=_CLONE,
            ),
        ),
        "git/git",
        is_elsewhere=True,
    ),
)

BUILDPACK = (
    Cause(
        "no-buildpack",
        "the builder recognised no language in the repository",
        "Put the files of one language at the top of the repository: for example `requirements.txt`, "
        "`package.json` or `public/index.html`.",
        (
            Sign(
                r"\s*(?:ERROR: )?No buildpack groups passed detection",
                "ERROR: No buildpack groups passed detection.",
            ),
            Sign(
                r"\s*ERROR: failed to detect: no buildpacks participating",
                "ERROR: failed to detect: no buildpacks participating",
            ),
        ),
        _LIFECYCLE,
    ),
    Cause(
        "procfile-invalid",
        "the Procfile cannot be read",
        "Each of its lines has to be `name: command`.",
        (
            Sign(
                r"(?:\[Error: |\s*! )?(?:Invalid Procfile format|Procfile is not in a valid format)",
                "[Error: Invalid Procfile format]",
            ),
        ),
        "heroku/buildpacks-procfile",
    ),
    Cause(
        "project-toml-invalid",
        "project.toml cannot be read",
        "Correct it: the line says where.",
        (
            Sign(
                r"\s*(?:ERROR: failed to read project\.toml|\[Error: Invalid project\.toml\]|"
                r"! Error (?:reading|parsing) `?(?:\./)?project\.toml)",
                "[Error: Invalid project.toml]",
            ),
        ),
        f"{_LIFECYCLE}, heroku/buildpacks-python, heroku/buildpacks-deb-packages",
    ),
    Cause(
        "system-package-unknown",
        "there is no system package {package}",
        "Correct its name in `project.toml`, or in the `Aptfile`: it has to be one of Ubuntu's, see "
        "https://packages.ubuntu.com.",
        (
            Sign(
                r"\s*E: Unable to locate package (?P<package>[\w.+-]+)",
                "E: Unable to locate package libnosuch-dev",
            ),
            Sign(
                r"\s*! Package not found(?:: | )?`?(?P<package>[\w.+-]+)?",
                "! Package not found: `libnosuch-dev`",
            ),
        ),
        "apt, heroku/buildpacks-deb-packages",
        otherwise={"package": "of the name asked for"},
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "builder-gone",
        "the builder that was asked for is no longer supported by Toolforge",
        "Take the present one: ask the operators of the previews where it is not the repository that asks.",
        (
            Sign(
                r".*Deprecated version are not supported anymore",
                "Deprecated version are not supported anymore (heroku-builder:22)",
                places=(TOOLFORGE,),
            ),
        ),
        "Toolforge builds-api",
    ),
)

#: For what builds-api does not even start a build.
REFUSED = tuple(cause for cause in (*GIT, *BUILDPACK) if cause.id in {"git-not-readable", "builder-gone"})

STORE = (
    Cause(
        "image-store-full",
        "the image does not fit into the account's image store",
        "Earlier commits of this merge request fill the store, too: `/preview stop`, then `/preview` begins with "
        "an empty one. If it still does not fit: fewer dependencies, no large files in the repository.",
        (
            Sign(
                r".*will exceed the configured upper limit",
                "ERROR: failed to export: failed to write image to the following tags: [x: PUT: DENIED: adding "
                "300.0 MiB of storage resource, which when updated to current usage of 900.0 MiB will exceed the "
                "configured upper limit of 1.0 GiB.]",
            ),
        ),
        f"goharbor/harbor, {_LIFECYCLE}",
    ),
    Cause(
        "image-too-large",
        "the image is too large",
        "Fewer dependencies, no large files in the repository; what is only needed to develop does not belong into "
        "`requirements.txt` or `dependencies`.",
        (
            Sign(
                r"\s*ERROR: failed to export: the image has ",
                "ERROR: failed to export: the image has 2.0GiB, this local Toolforge takes 1.0GiB at most",
            ),
            Sign(
                r".*[Nn]o space left on device",
                "OSError: [Errno 28] No space left on device",
            ),
            Sign(
                r".*ephemeral-storage",
                "The node was low on resource: ephemeral-storage. Container step-build was using 12Gi",
                places=(TOOLFORGE,),
            ),
        ),
        f"{_LIFECYCLE}, Linux, Kubernetes",
        confidence=Confidence.LIKELY,
    ),
)

TOOLFORGES = (
    Cause(
        "build-timed-out",
        "the build took longer than Toolforge allows",
        "Look for a step that waits or downloads without end, then build it again with `/preview`.",
        (
            Sign(
                r".*failed to finish within",
                'PipelineRun "tool-buildpacks-pipelinerun-x" failed to finish within "1h0m0s"',
                places=(TOOLFORGE,),
            ),
        ),
        "tektoncd/pipeline",
    ),
    Cause(
        "build-memory",
        "the build was ended because it took too much memory",
        "Make the build smaller: fewer packages that are compiled, fewer things at once.",
        (
            Sign(
                r".*(?:OOMKilled|exited with code 137)",
                '"step-build" exited with code 137 (image: "heroku/builder"); for logs run: kubectl',
                places=(TOOLFORGE,),
            ),
            Sign(
                r".*(?:signal: 9 \(SIGKILL\)|Killed signal terminated program)",
                "The 'pip install' command failed (signal: 9 (SIGKILL)).",
            ),
        ),
        "Kubernetes, tektoncd/pipeline, gcc",
        confidence=Confidence.LIKELY,
    ),
    Cause(
        "builder-away",
        "Toolforge could not run the build",
        "Build it again later.",
        (
            Sign(
                r".*(?:ImagePullBackOff|ErrImagePull|failed to pull (?:the )?image|PodCreationFailed|"
                r"TaskRunImagePullFailed|was evicted|Evicted|pod status \"?Ready\"?:\"?False)",
                'the step "build" in TaskRun "x" failed to pull the image "heroku/builder". The pod errored with the '
                'message: "Back-off pulling image". ImagePullBackOff',
                places=(TOOLFORGE,),
            ),
        ),
        "tektoncd/pipeline, Kubernetes",
        is_elsewhere=True,
    ),
    Cause(
        "image-registry-away",
        "Toolforge's image store could not be reached",
        "Build it again later.",
        (
            Sign(
                r"\s*ERROR: failed to (?:export|initialize analyzer|analyze|restore|fetch base layers): .*"
                r"(?:50\d (?:Internal|Bad|Service|Gateway)|i/o timeout|connection re(?:fused|set)|"
                r"TLS handshake timeout|no such host|unexpected EOF|context deadline exceeded|UNAVAILABLE)",
                "ERROR: failed to initialize analyzer: getting previous image: GET "
                "https://tools-harbor.wmcloud.org/v2/: unexpected status code 502 Bad Gateway",
            ),
        ),
        f"{_LIFECYCLE}, google/go-containerregistry",
        is_elsewhere=True,
    ),
    Cause(
        "image-not-exported",
        "the image could not be written to Toolforge's image store",
        "Build it again with `/preview`; if it happens again, tell the operators of the previews.",
        (
            Sign(
                r"\s*ERROR: failed to (?:export|initialize analyzer|analyze|restore): ",
                "ERROR: failed to export: failed to write image to the following tags: [x: unauthorized]",
            ),
        ),
        _LIFECYCLE,
    ),
)
