"""PyYAML's parser in Python, for installations without libyaml: the same events, more slowly."""

from __future__ import annotations

from yaml.events import Event
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner, ScannerError


class PureParser(Reader, Scanner, Parser):
    """Reader, scanner and parser in one, as `yaml.cyaml.CParser` is."""

    def __init__(self, stream: str) -> None:
        Reader.__init__(self, stream)
        Scanner.__init__(self)
        Parser.__init__(self)

    def scan_to_next_token(self) -> None:
        """Skips blanks, comments and line ends; PyYAML's own stops at the tabs that libyaml lets pass."""
        while True:
            while self.peek() == " " or (self.peek() == "\t" and (self.flow_level or not self.allow_simple_key)):
                self.forward()
            if self.peek() == "#":
                while self.peek() not in "\0\r\n\x85\u2028\u2029":
                    self.forward()
            if not self.scan_line_break():  # type: ignore[no-untyped-call]
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def get_event(self) -> Event | None:
        """The next event, or None after the last; raises yaml.YAMLError."""
        try:
            event: Event | None = Parser.get_event(self)  # type: ignore[no-untyped-call]
            return event
        except (ValueError, OverflowError):
            # An escape such as \UFFFFFFFF, which libyaml refuses by itself.
            problem = "found invalid Unicode character escape code"
            raise ScannerError(None, None, problem, self.get_mark()) from None
