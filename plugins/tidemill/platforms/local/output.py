"""The lines that a job prints, on their way to a log: cut, counted and capped."""

from __future__ import annotations

from collections.abc import Callable

MAX_LINE = 4_000
MAX_TOTAL = 10_000_000


class LineLog:
    """Splits what a job writes into lines and hands them on, in bounded memory.

    A line is cut at ``max_line`` bytes. After ``max_total`` bytes nothing more is handed on; ``close`` says
    how much that was. Of a line rewritten by carriage returns (a progress bar) only its last state is shown.
    """

    def __init__(self, write: Callable[[str], None], max_line: int = MAX_LINE, max_total: int = MAX_TOTAL) -> None:
        self.write = write
        self.max_line = max_line
        self.max_total = max_total
        self._line = bytearray()
        self._cut = 0
        self._sent = 0
        self._dropped = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes that the job wrote."""
        if self._dropped:
            self._dropped += len(data)
            return
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._extend(data[start:end])
            self._flush()
            start = end + 1
            if self._dropped:
                self._dropped += len(data) - start
                return
        self._extend(data[start:])

    def close(self) -> None:
        """Hand on the unfinished last line, and say what was dropped."""
        if self._line and not self._dropped:
            self._flush()
        if self._dropped:
            self.write(
                f"tidemill: {self._dropped:,} more bytes were printed and dropped; the log keeps "
                f"{self.max_total / 1e6:g} MB"
            )

    def _extend(self, part: bytes) -> None:
        room = self.max_line - len(self._line)
        returned = part.rfind(b"\r", 0, len(part) - 1)
        if returned >= 0:
            self._line.clear()
            self._cut = 0
            part = part[returned + 1 :]
            room = self.max_line
        self._line += part[:room]
        self._cut += max(0, len(part) - room)

    def _flush(self) -> None:
        line = self._line.decode("utf-8", "replace").rstrip("\r")
        size = len(self._line) + 1
        cut, self._cut = self._cut, 0
        self._line.clear()
        if self._sent + size > self.max_total:
            self._dropped = size + cut
            return
        self._sent += size
        self.write(f"{line} … ({cut:,} more bytes of this line)" if cut else line)
