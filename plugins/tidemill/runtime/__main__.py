"""``python -m tidemill.runtime --job FILE``: run a job; exits with 0, 10 (user's error) or 20 (system's)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .guard import main

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tidemill.runtime", description="Run one training job.")
    parser.add_argument("--job", type=Path, required=True, help="the job, a JSON file")
    sys.exit(main(parser.parse_args().job))
