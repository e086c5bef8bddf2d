"""The real engine: clones with git, builds as the buildpacks would on this machine, runs real processes."""
