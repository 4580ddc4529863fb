"""Functions, callbacks, an operator and a notifier that the fixtures name."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseNotifier, BaseOperator


def berths() -> list[int]:
    return [1, 2, 3]


def tide(**context: Any) -> dict[str, float]:
    return {"high": 4.2, "low": 0.3}


def moor(berth: int, rope: str = "hemp") -> str:
    return f"{berth} {rope}"


def both(left: int, right: int) -> int:
    return left + right


def lines(*names: str, colour: str = "red") -> int:
    return len(names)


def choose(level: float = 0.0) -> str:
    return "yard.wash"


def is_calm(limit: int = 3) -> bool:
    return limit > 2


def command(port: str) -> str:
    return f"echo {port}"


def alarm(context: Any, **words: Any) -> None:
    print(words)


def day_before(logical_date: Any) -> Any:
    return logical_date


def good_answer(response: Any) -> bool:
    return bool(response)


def at_sea(value: str) -> str:
    return value.upper()


class LoadOperator(BaseOperator):
    template_fields = ("cargo",)

    def __init__(self, *, cargo: str, crane: str = "north", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cargo = cargo
        self.crane = crane

    def execute(self, context: Any) -> str:
        return self.cargo


class FlagNotifier(BaseNotifier):
    def __init__(self, colour: str = "red") -> None:
        super().__init__()
        self.colour = colour

    def notify(self, context: Any) -> None:
        print(self.colour)
