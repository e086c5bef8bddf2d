"""Pushes what was built to Harbor, and cleans an account's project (contract sections 2.7 and 5)."""

from __future__ import annotations

from deploy.local.toolforge.answers import messages_error
from deploy.local.toolforge.build_log import BuildLog
from deploy.local.toolforge.engine import BuildFailed, BuiltImage, Engine
from deploy.local.toolforge.model import Build, Tool
from deploy.local.toolforge.registry import Artifact, QuotaExceeded, image_digest
from deploy.local.toolforge.world import World

INJECTED_REFUSAL = (
    "adding 100.0 MiB of storage resource, which when updated to current usage of 1000.0 MiB "
    "will exceed the configured upper limit of 1024.0 MiB."
)
STEP = "step-export"


class ImageStore:
    """The image projects of all accounts, and the files behind their images."""

    def __init__(self, world: World, engine: Engine) -> None:
        self._world = world
        self._engine = engine

    def push(self, tool: Tool, build: Build, image: BuiltImage, log: BuildLog) -> None:
        """The export step: store the image, move `latest`, give the build its digest.

        Over quota it is Harbor's refusal in the lifecycle's words, and `BuildFailed`.
        """
        settings = self._world.settings
        if settings.base_layer_bytes:
            image.layers["sha256:base"] = settings.base_layer_bytes
        artifact = Artifact(
            digest=image.digest or image_digest(image.layers, image.processes),
            repository=build.repository,
            layers=image.layers,
            tags=["latest"],
            pushed=self._world.now(),
            path=image.path,
            processes=image.processes,
            environment=image.environment,
        )
        target = f"{settings.harbor_host}/{tool.project.name}/{build.repository}:latest"
        log.write(STEP, f"Saving {target}...")
        try:
            if self._world.faults.take("quota_full", tool=tool.name, name=build.repository):
                raise QuotaExceeded(INJECTED_REFUSAL)
            tool.project.exists = True
            stored = tool.project.push(artifact)
        except QuotaExceeded as refusal:
            self._engine.discard(image)
            log.write(STEP, self._refused(target, str(refusal)))
            raise BuildFailed("over quota") from None
        if stored is not artifact:
            self._engine.discard(image)
        build.digest = artifact.digest
        log.write(STEP, f"*** Images ({artifact.digest[:19]}):\n      {target}")
        log.write("step-results", f"Built image {target}@{artifact.digest}")

    async def clean(self, tool: Tool) -> str:
        """Delete every artifact of the tool's project, aborting on the first failure; builds-api's text."""
        project = tool.project
        if self._world.faults.take("harbor_down", tool=tool.name, operation="builds"):
            raise messages_error(500, "Error cleaning up: harbor connection refused")
        if not project.exists:
            raise messages_error(
                500,
                f"Error cleaning up: the project {project.name} does not exist, "
                "have you started a build yet?",
            )
        lines = []
        try:
            for repository in project.repositories():
                held = [one for one in project.artifacts if one.repository == repository]
                for artifact in held:
                    self._delete(tool, artifact)
                where = f"{project.name}/{repository}"
                lines.append(f"Deleted {len(held)} artifacts from harbor repository {where}\n")
        finally:
            self._world.changed(tool)
        return "".join(lines) or "Nothing to clean up"

    def _delete(self, tool: Tool, artifact: Artifact) -> None:
        if self._world.faults.take("clean_fails", tool=tool.name, name=artifact.repository):
            raise messages_error(
                500,
                f"Error cleaning up: error trying to delete artifact {artifact.digest} from project "
                f"{tool.project.name}: 500 - internal server error",
            )
        tool.project.artifacts.remove(artifact)
        self._engine.discard(artifact)

    def _refused(self, target: str, refusal: str) -> str:
        repository = target.partition("/")[2].removesuffix(":latest")
        manifest = f"https://{self._world.settings.harbor_host}/v2/{repository}/manifests/latest"
        return (
            f"ERROR: failed to export: failed to write image to the following tags: "
            f"[{target}: PUT {manifest}: DENIED: {refusal}]"
        )
