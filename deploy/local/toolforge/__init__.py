"""A Toolforge on this machine: gateway, builds-api, jobs-api, envvars-api, logs-api, an image store, public
addresses.

As a program: `python -m deploy.local.toolforge --state DIR --tools a,b`. In Python: `LocalToolforge`.
"""

from __future__ import annotations

from deploy.local.toolforge.faults import Fault, Faults
from deploy.local.toolforge.local import LocalToolforge
from deploy.local.toolforge.settings import Builder, JobLimits, Latency, Settings

__all__ = ["Builder", "Fault", "Faults", "JobLimits", "Latency", "LocalToolforge", "Settings"]
