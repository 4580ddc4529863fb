"""Many processes, one chain: nothing forks, nothing is lost, one wins; and nobody's death hurts another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from tidemill.ledger import HeadMoved, Ledger, open_ledger

PROCESSES = 8
# Forked, as Airflow forks its tasks: children use the Ledger object that their parent opened.
fork = multiprocessing.get_context("fork")


def in_processes(work: Callable[..., Any], n: int = PROCESSES) -> list[Any]:
    """What `work(number, barrier)` returned in each of `n` processes."""
    answers = fork.SimpleQueue()
    barrier = fork.Barrier(n)

    def answer(number: int) -> None:
        try:
            answers.put(work(number, barrier))
        except BaseException as error:  # noqa: BLE001  (raised again by the parent)
            barrier.abort()
            answers.put(error)

    processes = [fork.Process(target=answer, args=(number,)) for number in range(n)]
    for process in processes:
        process.start()
    results = [answers.get() for _ in processes]
    for process in processes:
        process.join(30)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_concurrent_appends_neither_fork_nor_lose_anything(ledger: Ledger) -> None:
    def work(number: int, barrier: Any) -> list[str]:
        barrier.wait()
        return [ledger.append("m", "run", {"by": number, "i": i}).hash for i in range(12)]

    hashes = {h for result in in_processes(work) for h in result}
    entries = ledger.entries("m")
    assert [e.seq for e in entries] == list(range(1, PROCESSES * 12 + 1))
    assert {e.hash for e in entries} == hashes
    assert sorted((e.body["by"], e.body["i"]) for e in entries) == [(p, i) for p in range(PROCESSES) for i in range(12)]
    assert ledger.verify("m", entries[-1].hash) == []


def test_of_those_that_swap_one_head_exactly_one_wins(ledger: Ledger) -> None:
    rounds = 5

    def work(number: int, barrier: Any) -> list[bool]:
        won = []
        for _ in range(rounds):
            head = ledger.head("m")
            barrier.wait()
            try:
                ledger.append("m", "run", {"by": number}, expect_head=None if head is None else head.hash)
                won.append(True)
            except HeadMoved:
                won.append(False)
            barrier.wait()
        return won

    results = in_processes(work)
    assert [sum(won) for won in zip(*results, strict=True)] == [1] * rounds
    assert len(ledger.entries("m")) == rounds
    assert ledger.verify("m") == []


def test_one_key_becomes_one_entry_whoever_comes_first(ledger: Ledger) -> None:
    def work(_number: int, barrier: Any) -> list[str]:
        barrier.wait()
        return [ledger.append("m", "run", {"i": i}, key=f"k{i}").hash for i in range(4)]

    (hashes,) = {tuple(result) for result in in_processes(work)}
    assert [e.hash for e in ledger.entries("m")] == list(hashes)


def test_threads_may_share_a_ledger(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: ledger.append("m", "run", {"i": i}), range(24)))
    assert sorted(e.body["i"] for e in ledger.entries("m")) == list(range(24))
    assert ledger.verify("m") == []


def test_first_opens_may_race(ledger_url: str) -> None:
    def work(number: int, barrier: Any) -> int:
        barrier.wait()
        with open_ledger(ledger_url) as ledger:
            return ledger.append("m", "run", {"by": number}).seq

    assert sorted(in_processes(work)) == list(range(1, PROCESSES + 1))
    with open_ledger(ledger_url) as ledger:
        assert ledger.verify("m") == []


def _kill_at(moment: str, ledger: Ledger) -> int:
    """The exit code of a process that appends and is killed, by the kernel, at that moment of it."""

    def kill(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        engine = ledger._database._engine
        if moment == "after the insert":
            event.listen(engine, "after_cursor_execute", lambda *args: "INSERT" in args[2] and kill())
        elif moment == "before the commit":
            event.listen(engine, "commit", kill)
        else:
            commit = engine.dialect.do_commit
            engine.dialect.do_commit = lambda connection: (commit(connection), kill())  # type: ignore[method-assign]
        ledger.append("m", "run", {"i": 2}, key="k2")

    process = fork.Process(target=work)
    process.start()
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.parametrize(
    ("moment", "written"),
    [("after the insert", False), ("before the commit", False), ("after the commit", True)],
)
def test_a_process_killed_in_an_append_leaves_all_or_nothing(ledger: Ledger, moment: str, written: bool) -> None:
    first = ledger.append("m", "run", {"i": 1})
    assert _kill_at(moment, ledger) == -signal.SIGKILL
    assert (ledger.find("m", "k2") is not None) == written
    # The lock died with the process, and the retry brings the chain to the same end either way.
    started = time.monotonic()
    second = ledger.append("m", "run", {"i": 2}, key="k2", expect_head=first.hash)
    assert time.monotonic() - started < 5
    assert ledger.entries("m") == [first, second]
    assert ledger.verify("m", second.hash) == []


def test_killed_at_any_moment_among_others_the_chain_stays_whole(ledger: Ledger) -> None:
    def append_for_ever() -> None:
        while True:
            ledger.append("m", "run", {"x": "y" * 10_000})

    processes = [fork.Process(target=append_for_ever) for _ in range(3)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            time.sleep(0.25)
            process.kill()
            process.join(10)
            assert ledger.append("m", "run", {"after": process.pid}).seq > 1
    finally:
        for process in processes:
            process.kill()
    entries = ledger.entries("m")
    assert len(entries) > 6
    assert [e.seq for e in entries] == list(range(1, len(entries) + 1))
    assert ledger.verify("m") == []
