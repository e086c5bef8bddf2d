"""Says what `pip-audit --format json`, on standard input, has found out about the locked packages.

Exit code 0: no weakness is known; 1: some are; 3: the advisory service did not answer for all packages, so
that nothing may be concluded. pip-audit itself ends with 0 where it was told of no package at all.
"""

from __future__ import annotations

import json
import sys
from typing import Any

FOUND, NOT_ASKED = 1, 3


def main() -> int:
    """Read, print, and tell by the exit code."""
    try:
        packages: list[dict[str, Any]] = json.load(sys.stdin)["dependencies"]
    except (ValueError, KeyError, TypeError):
        print("NOT AUDITED: the advisory service could not be reached.", file=sys.stderr)
        return NOT_ASKED
    weak = [(package, one) for package in packages for one in package.get("vulns", ())]
    for package, one in weak:
        fixed = ", ".join(one.get("fix_versions", ())) or "no version yet"
        print(f"{package['name']} {package['version']}: {one['id']}, mended in {fixed}")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        known = f"{len(packages) - len(skipped)} of {len(packages)} packages"
        print(f"NOT AUDITED: the advisory service knows of {known} only.", file=sys.stderr)
        for name in skipped[:5]:
            print(f"  not of {name}", file=sys.stderr)
    if weak:
        return FOUND
    if skipped or not packages:
        return NOT_ASKED
    print(f"No weakness is known of the {len(packages)} packages in the lock file.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
