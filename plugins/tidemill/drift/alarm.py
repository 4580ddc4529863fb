"""When the verdicts on windows become an alarm: the rules over time.

Pure functions of what was judged before, so that a repeated or a late run of the same window comes to the same end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidemill.spec.units import format_duration


@dataclass(frozen=True, kw_only=True)
class JudgedWindow:
    """The window [``start``, ``end``) and whether it had drifted; ``None`` where that could not be judged."""

    start: datetime
    end: datetime
    drifted: bool | None


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Whether the alarm is given, and why it is or is not. ``in_a_row``: how many windows up to this have drifted."""

    fired: bool
    in_a_row: int
    why: str = ""


def alarm(
    window: JudgedWindow,
    earlier: Iterable[JudgedWindow] = (),
    *,
    consecutive: int = 1,
    promoted: datetime | None = None,
    warm_up: timedelta | None = None,
) -> Alarm:
    """Whether a window gives an alarm.

    ``earlier``: verdicts on other windows against the same champion, in the order in which they were given: of two
    on one window the later one counts, and none twice. Those that end after ``window`` are of no account, as are
    those that could not be judged. ``promoted``: when the champion came into force. A window that begins less than
    ``warm_up`` later gives no alarm, and does not count towards ``consecutive`` either.
    """
    ready = promoted + warm_up if promoted is not None and warm_up else None
    if not window.drifted:
        return Alarm(fired=False, in_a_row=0)
    if ready is not None and window.start < ready:
        assert warm_up is not None
        why = f"no alarm yet: the window begins within {format_duration(warm_up)} after the champion's promotion"
        return Alarm(fired=False, in_a_row=0, why=why)
    others = {(w.start, w.end): w for w in earlier if w.end <= window.end}
    others.pop((window.start, window.end), None)
    in_a_row = 1
    for other in sorted(others.values(), key=lambda w: (w.end, w.start), reverse=True):
        if other.drifted is None:
            continue
        if not other.drifted or (ready is not None and other.start < ready):
            break
        in_a_row += 1
    if in_a_row >= consecutive:
        why = f"{in_a_row} windows in a row have drifted" if consecutive > 1 else ""
        return Alarm(fired=True, in_a_row=in_a_row, why=why)
    windows = "window has" if in_a_row == 1 else "windows in a row have"
    return Alarm(
        fired=False, in_a_row=in_a_row, why=f"no alarm yet: {in_a_row} {windows} drifted, {consecutive} are needed"
    )
