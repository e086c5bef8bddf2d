"""Go, Java and .NET: their versions and their packages. Data."""

from __future__ import annotations

from orchestrator.diagnosis.engine import Cause, Sign

_SUCH_AS_MAIN = "such as the one that `main` builds with"
_GO_BUILDPACK = "heroku/buildpacks-go"
_GO_GAVE_UP = r"\s*! (?:Heroku Go Buildpack go (?:build|list) error|Couldn't run `go )"

GO = (
    Cause(
        "go-version-missing",
        "Toolforge's builder does not have Go {version}, which go.mod asks for",
        f"Change `go` in `go.mod` to a version that the builder has, {_SUCH_AS_MAIN}.",
        (
            Sign(
                r"\s*! Couldn't resolve go version for: (?P<version>.+?)$",
                "! Couldn't resolve go version for: =1.99.0",
            ),
            Sign(
                r"\s*go: .*go\.mod requires go >= (?P<version>\S+) \(running go",
                "go: go.mod requires go >= 1.99 (running go 1.24.1; GOTOOLCHAIN=local)",
                closed_by=_GO_GAVE_UP,
            ),
        ),
        f"{_GO_BUILDPACK}, golang/go",
    ),
    Cause(
        "go-hash-mismatch",
        "a Go module is not the one that go.sum has: its checksum differs",
        "Look at that module before you trust it; where `go.sum` was changed by hand, run `go mod tidy`.",
        (
            Sign(
                r"\s*(?:go: )?(?:verifying .+: checksum mismatch|SECURITY ERROR)",
                "verifying github.com/a/b@v1.0.0: checksum mismatch",
                closed_by=_GO_GAVE_UP,
            ),
        ),
        "golang/go",
    ),
    Cause(
        "go-lock-outdated",
        "go.mod and go.sum do not fit the code",
        "Run `go mod tidy`, and commit `go.mod` and `go.sum`.",
        (
            Sign(
                r".*missing go\.sum entry",
                "main.go:4:2: missing go.sum entry for module providing package github.com/a/b",
                closed_by=_GO_GAVE_UP,
            ),
            Sign(r"\s*go: updates to go\.mod needed", "go: updates to go.mod needed", closed_by=_GO_GAVE_UP),
            Sign(
                r".*no required module provides package",
                "main.go:4:2: no required module provides package github.com/a/b; to add it:",
                closed_by=_GO_GAVE_UP,
            ),
        ),
        "golang/go",
    ),
    Cause(
        "go-dependency-not-found",
        "the Go module {package} is not to be had",
        "Correct its path or its version in `go.mod`.",
        (
            Sign(
                r"\s*go: (?P<package>[^\s:]+): .*(?:unknown revision|no matching versions|"
                r"404 Not Found|410 Gone|repository not found)",
                "go: github.com/a/b@v9.9.9: invalid version: unknown revision v9.9.9",
                closed_by=_GO_GAVE_UP,
            ),
        ),
        "golang/go",
    ),
    Cause(
        "go-build-failed",
        "the Go code does not compile",
        "Run `go build ./...` on the same commit; the lines before say where.",
        (Sign(_GO_GAVE_UP, "! Heroku Go Buildpack go build error"),),
        _GO_BUILDPACK,
        details=(r"\s*(?:\./)?[\w./-]+\.go:\d+:\d+: ",),
    ),
)

_JVM_BUILDPACK = "heroku/buildpacks-jvm"
_JVM_GAVE_UP = r"(?:\[Error: |\s*! ERROR: )Failed to build app with (?:Maven|Gradle)"

JAVA = (
    Cause(
        "java-version-missing",
        "Toolforge's builder does not have Java {version}, which system.properties asks for",
        f"Change `java.runtime.version` in `system.properties` to a version that the builder has, "
        f"{_SUCH_AS_MAIN}.",
        (
            Sign(
                r"(?:\[Error: |\s*! ERROR: )Unsupported OpenJDK version",
                "[Error: Unsupported OpenJDK version]",
            ),
        ),
        _JVM_BUILDPACK,
        details=(r"The OpenJDK (?:major )?version (?P<version>\S+) you specified",),
        otherwise={"version": "the version"},
    ),
    Cause(
        "java-version-invalid",
        "system.properties does not name a Java version as the builder reads it",
        "Write nothing into it but the version, such as `java.runtime.version=21`.",
        (
            Sign(
                r"(?:\[Error: |\s*! ERROR: )(?:Invalid OpenJDK version selector|Unsupported distribution: |"
                r"Invalid system\.properties file)",
                "[Error: Invalid OpenJDK version selector]",
            ),
        ),
        _JVM_BUILDPACK,
    ),
    Cause(
        "java-version-excluded",
        "the code asks for Java {version}, and it is built with an older one",
        "Set `java.runtime.version` in `system.properties` to it, or ask for less in `pom.xml` or "
        "`build.gradle`.",
        (
            Sign(
                r"\[ERROR\] .*(?:release version|invalid target release:|invalid source release:) "
                r"(?P<version>\d+)",
                "[ERROR] Failed to execute goal: Fatal error compiling: error: release version 25 not supported",
                closed_by=_JVM_GAVE_UP,
            ),
            Sign(
                r".*(?:invalid source release|invalid target release): (?P<version>\d+)",
                "> error: invalid source release: 25",
                closed_by=_JVM_GAVE_UP,
            ),
        ),
        "openjdk/jdk",
    ),
    Cause(
        "java-download-failed",
        "the builder could not download Java, Maven or Gradle",
        "Build it again later.",
        (
            Sign(
                r"(?:\[Error: |\s*! ERROR: )(?:OpenJDK download failed|Maven download failed|Corrupted OpenJDK "
                r"download)",
                "[Error: OpenJDK download failed]",
            ),
        ),
        _JVM_BUILDPACK,
        is_elsewhere=True,
    ),
    Cause(
        "java-dependency-not-found",
        "the Java package {package} is not to be had",
        "Correct its name or its version in `pom.xml` or `build.gradle`.",
        (
            Sign(
                r"\[ERROR\] .*Could not find artifact (?P<package>\S+)",
                "[ERROR] Failed to execute goal on project tool: Could not resolve dependencies for project: Could "
                "not find artifact org.acme:tool:jar:9.9 in central",
                closed_by=_JVM_GAVE_UP,
            ),
            Sign(
                r"\s*> Could not find (?P<package>[\w.-]+:[\w.-]+:[\w.-]+?)\.?$",
                "   > Could not find org.acme:tool:9.9.",
                closed_by=_JVM_GAVE_UP,
            ),
        ),
        "apache/maven, gradle/gradle",
    ),
    Cause(
        "java-build-failed",
        "Maven or Gradle could not build the code",
        "Build the same commit on a machine of yours; the lines before say what went wrong.",
        (Sign(_JVM_GAVE_UP, "[Error: Failed to build app with Maven]"),),
        _JVM_BUILDPACK,
        details=(r"\[ERROR\] .*\.java:\[\d+,\d+\]", r"\[ERROR\] "),
    ),
)

_DOTNET_BUILDPACK = "heroku/buildpacks-dotnet"
_DOTNET_GAVE_UP = r"\s*! Unable to publish"

DOTNET = (
    Cause(
        "dotnet-version-missing",
        "Toolforge's builder does not have the .NET SDK {version}, which the project asks for",
        f"Change `TargetFramework` of the project, or `global.json`, to a version that the builder has, "
        f"{_SUCH_AS_MAIN}.",
        (Sign(r"\s*! Unsupported \.NET SDK version", "! Unsupported .NET SDK version"),),
        _DOTNET_BUILDPACK,
        details=(r"\s*! (?:.*)?requirement \((?P<version>[^)]+)\)",),
        otherwise={"version": "of the version"},
    ),
    Cause(
        "dotnet-version-excluded",
        "the .NET SDK does not support {version}",
        "Let `TargetFramework` of the project and `global.json` fit each other.",
        (
            Sign(
                r".*error NETSDK1045: .*does not support targeting (?P<version>\.NET [\d.]+?)\.?\s",
                "Tool.csproj : error NETSDK1045: The current .NET SDK does not support targeting .NET 10.0.  Either "
                "target .NET 9.0 or lower, or use a version of the .NET SDK that supports .NET 10.0.",
                closed_by=_DOTNET_GAVE_UP,
            ),
        ),
        "dotnet/sdk",
    ),
    Cause(
        "dotnet-lock-outdated",
        "packages.lock.json does not fit the project",
        "Run `dotnet restore --force-evaluate`, and commit `packages.lock.json` with the change.",
        (
            Sign(
                r".*error NU1004: ",
                "Tool.csproj : error NU1004: The package references have changed for net9.0.",
                closed_by=_DOTNET_GAVE_UP,
            ),
        ),
        "NuGet/NuGet.Client",
    ),
    Cause(
        "dotnet-hash-mismatch",
        "a NuGet package is not the one that was locked: its checksum differs",
        "Look at that package before you trust it.",
        (
            Sign(
                r".*error NU1403: ",
                "Tool.csproj : error NU1403: Package content hash validation failed for Acme.1.0.0.",
                closed_by=_DOTNET_GAVE_UP,
            ),
        ),
        "NuGet/NuGet.Client",
    ),
    Cause(
        "dotnet-dependency-conflict",
        "NuGet packages that the project asks for exclude each other",
        "The line names them: change the version of one of them.",
        (
            Sign(
                r".*error NU(?:1107|1605|1608): ",
                "Tool.csproj : error NU1107: Version conflict detected for Acme.Core.",
                closed_by=_DOTNET_GAVE_UP,
            ),
        ),
        "NuGet/NuGet.Client",
    ),
    Cause(
        "dotnet-dependency-not-found",
        "the NuGet package {package} is not to be had",
        "Correct its name or its version in the project.",
        (
            Sign(
                r".*error NU110[1-3]: Unable to find (?:a stable )?package (?P<package>[\w.-]+?)\.?(?:\s|$)",
                "Tool.csproj : error NU1101: Unable to find package Acme.Nosuch. No packages exist with this id in "
                "source(s): nuget.org",
                closed_by=_DOTNET_GAVE_UP,
            ),
        ),
        "NuGet/NuGet.Client",
    ),
    Cause(
        "dotnet-build-failed",
        "the .NET project could not be published",
        "Run `dotnet publish` on the same commit; the lines before say what went wrong.",
        (Sign(_DOTNET_GAVE_UP, "! Unable to publish"),),
        _DOTNET_BUILDPACK,
        details=(r".+: error [A-Z]+\d+: ",),
    ),
)
