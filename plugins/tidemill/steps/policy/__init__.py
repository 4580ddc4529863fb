"""The retraining policy: which guards a run meets, what each says, and what follows; docs/retraining.md tells users.

Everything here is a pure function of the ledger's entries, the run's ``as_of`` and the spec: no clock, no network.
"""

from __future__ import annotations

from tidemill.steps.policy.decide import decide
from tidemill.steps.policy.facts import Facts
from tidemill.steps.policy.table import GUARDS, Force, Guard

__all__ = ["GUARDS", "Facts", "Force", "Guard", "decide"]
