"""The package's face is light: a task that never opens a ledger does not pay for a database library."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import tidemill.ledger, tidemill.ledger.views
heavy = {"sqlalchemy", "psycopg", "psycopg2", "airflow"} & {name.split(".")[0] for name in sys.modules}
assert not heavy, heavy
assert tidemill.ledger.Ledger.__name__ == "Ledger"
assert "sqlalchemy" in sys.modules and "psycopg" not in sys.modules
"""


def test_importing_it_imports_no_database_library() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
