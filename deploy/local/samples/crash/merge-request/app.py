"""Editathon clock, with places from a variable that nobody has set."""

import json
import os

PLACES = json.loads(os.environ["EDITATHON_PLACES"])

if __name__ == "__main__":
    raise SystemExit("never reached without EDITATHON_PLACES")
