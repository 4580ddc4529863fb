"""The counts of _calibration.py as one JSON object.

python benchmarks/_drift_calibration.py REPLICATIONS
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from benchmarks._calibration import calibrate

if __name__ == "__main__":
    print(json.dumps(asdict(calibrate(int(sys.argv[1])))))
