"""What others need for the same rows and columns; run by an environment that has them, without Tidemill.

    PYTHON benchmarks/_drift_rivals.py evidently|nannyml REFERENCE CURRENT

Prints one JSON object: the seconds of the drift calculation, and for NannyML those of fitting on the reference. Reading
the files is not counted.
"""

import json
import sys
import time

import pandas as pd


def evidently(reference, current):
    """The data-drift preset, with its defaults."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numeric = [name for name in reference.columns if name.startswith("number")]
    definition = DataDefinition(
        numerical_columns=numeric, categorical_columns=[name for name in reference.columns if name not in numeric]
    )

    def work():
        before, now = (Dataset.from_pandas(frame, data_definition=definition) for frame in (reference, current))
        Report([DataDriftPreset()]).run(now, before).json()

    return lambda: None, work


def nannyml(reference, current):
    """The univariate Jensen-Shannon distance, of all rows as one chunk."""
    from nannyml import UnivariateDriftCalculator

    calculator = UnivariateDriftCalculator(
        column_names=list(reference.columns),
        continuous_methods=["jensen_shannon"],
        categorical_methods=["jensen_shannon"],
        chunk_number=1,
    )
    return lambda: calculator.fit(reference), lambda: calculator.calculate(current).to_df()


def timed(work):
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    name, *files = sys.argv[1:]
    fit, work = {"evidently": evidently, "nannyml": nannyml}[name](*(pd.read_parquet(file) for file in files))
    print(json.dumps({"fit": timed(fit), "work": timed(work)}))
