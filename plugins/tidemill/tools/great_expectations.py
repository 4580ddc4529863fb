"""Great Expectations: suites in YAML, checked without the library, and run with it.

A suite lists expectations by their own names, with their own arguments:

    expectations:
      - {type: expect_column_values_to_not_be_null, column: flight_id}
      - {type: expect_column_values_to_be_between, column: distance, min_value: 0, mostly: 0.99}

`great_expectations.json` beside this module holds the names and arguments of the core expectations that work on
data frames; a test keeps it equal to the installed library. Importing the library takes seconds, so validation
reads that file instead. Times are compared in UTC.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidemill.spec.errors import SpecError, SpecErrors, printable, suggest
from tidemill.spec.reader import Document, content_of, read

# The steps' side is imported where it is used: validation, which the dag-processor does, needs none of it.
if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context.data_context.abstract_data_context import AbstractDataContext

    from tidemill.records import FailedExpectation

_KNOWN: Final = Path(__file__).with_suffix(".json")
_LONGEST_DETAIL: Final = 300
_EXAMPLES: Final = 5


@dataclass(frozen=True)
class SuiteResult:
    """What a suite found: how many expectations were checked (on every part), those that did not hold, and
    the index page of the Data Docs."""

    checked: int
    failed: tuple[FailedExpectation, ...]
    docs: Path


def check_suite(path: Path, file: str | None = None) -> list[SpecError]:
    """Every mistake in a suite, without importing Great Expectations.

    `file` is the name that errors carry; the path if absent. Whether the columns exist is known only once there
    are rows.
    """
    name = file or str(path)
    try:
        return list(_mistakes(content_of(path), name))
    except OSError as e:
        return [SpecError(name, 1, 1, "", f"cannot be read: {e.strerror}")]


def require_suite(path: Path) -> None:
    """Check a suite.

    Raises:
        StepError: it has mistakes, as `check_suite` lists them.
    """
    from tidemill.steps.context import StepError

    errors = check_suite(path)
    if errors:
        raise StepError(SpecErrors(errors).render())


def run_suite(path: Path, parts: Mapping[str, Path], docs: Path) -> SuiteResult:
    """Check every part (its name → a Parquet file) against a suite, and build the Data Docs in the folder `docs`.

    The failures of all parts come together; the detail of each begins with its part's name.

    Raises:
        StepError: the suite has mistakes (as `check_suite` lists them), or a part cannot be read.
    """
    require_suite(path)
    shutil.rmtree(docs, ignore_errors=True)
    docs.mkdir(parents=True)
    context = _context(docs)
    suite = _suite(context, path)
    failed: list[FailedExpectation] = []
    for name, file in parts.items():
        failed += [_failure(name, result) for result in _validate(context, suite, name, _frame(file))]
    return SuiteResult(len(suite.expectations) * len(parts), tuple(failed), docs / "index.html")


# Checking, without the library


@lru_cache(maxsize=64)
def _mistakes(data: bytes, name: str) -> tuple[SpecError, ...]:
    # Thousands of pipelines may share one suite.
    try:
        return tuple(_check(read(data, name)))
    except SpecErrors as e:
        return e.errors


@cache
def _known() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(_KNOWN.read_text(encoding="utf-8"))
    return known


def _check(document: Document) -> Iterator[SpecError]:
    for key in document.value:
        if key != "expectations":
            near = suggest(key, ["expectations"])
            hint = 'did you mean "expectations"?' if near else "a suite has one key, expectations"
            yield document.error((key,), f'unknown key "{key}"', hint, key=True)
    listed = document.value.get("expectations")
    if not isinstance(listed, list) or not listed:
        yield document.error(
            ("expectations",),
            "a list of expectations is needed",
            "e.g. - {type: expect_column_values_to_not_be_null, column: id}",
        )
        return
    seen: dict[str, int] = {}
    for index, item in enumerate(listed):
        found = list(_check_item(document, index, item))
        yield from found
        first = seen.setdefault(json.dumps(item, sort_keys=True, default=str), index)
        if first != index and not found:
            yield document.error(("expectations", index), f"the same as expectations[{first}]", "remove one")


def _check_item(document: Document, index: int, item: Any) -> Iterator[SpecError]:
    at = ("expectations", index)
    if not isinstance(item, dict):
        yield document.error(at, "an expectation is a mapping", "e.g. {type: expect_column_to_exist, column: id}")
        return
    kind, known = item.get("type"), _known()["expectations"]
    if "type" not in item:
        yield document.error(at, "an expectation needs a type", "e.g. type: expect_column_values_to_not_be_null")
    elif not isinstance(kind, str) or kind not in known:
        yield _unknown_type(document, (*at, "type"), kind)
    else:
        yield from _check_arguments(document, at, item, known[kind])


def _unknown_type(document: Document, at: tuple[str | int, ...], kind: Any) -> SpecError:
    why = _known()["unusable"].get(kind) if isinstance(kind, str) else None
    if why:
        return document.error(at, f'"{kind}" cannot be used here: {why}')
    # As people write the class's name: ExpectColumnValuesToNotBeNull.
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(kind)).lower()
    names = _known()["expectations"]
    near = plain if plain in names else suggest(plain, names)
    hint = f'did you mean "{near}"?' if near else "see the Expectation Gallery of Great Expectations Core"
    return document.error(at, f'unknown expectation "{kind}"', hint)


def _check_arguments(
    document: Document, at: tuple[str | int, ...], item: dict[str, Any], known: dict[str, Any]
) -> Iterator[SpecError]:
    arguments: dict[str, str] = known["arguments"]
    given = set(item)
    for name in (n for n in item if n != "type"):
        if name not in arguments:
            near = suggest(name, arguments)
            given.add(near or name)  # misspelt is not missing as well
            hint = f'did you mean "{near}"?' if near else f"it takes {', '.join(arguments)}"
            yield document.error((*at, name), f'{item["type"]} has no argument "{name}"', hint, key=True)
        elif wrong := _wrong(arguments[name], item[name]):
            yield document.error((*at, name), wrong)
    missing = [name for name in known["required"] if name not in given]
    if missing:
        yield document.error(at, f"{item['type']} needs {' and '.join(missing)}")
    bounds = {"min_value", "max_value"} & arguments.keys()
    if bounds and item["type"].endswith("_between") and not bounds & given:
        yield document.error(at, f"{item['type']} needs min_value or max_value")


def _wrong(kind: str, value: Any) -> str | None:
    """What is wrong with an argument of a kind; `None` if nothing is."""
    right, needed = _KINDS.get(kind, (None, f"one of {kind.replace('|', ', ')}"))
    fits = right(value) if right else isinstance(value, str) and value in kind.split("|")
    if not fits:
        return f"{needed} is needed, not {printable(json.dumps(value, ensure_ascii=False, default=str))[:60]}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_regex(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_list(value: Any, of: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(of(item) for item in value)


_KINDS: Final[Mapping[str, tuple[Any, str]]] = {
    "text": (lambda v: isinstance(v, str) and v != "", "text"),
    "texts": (lambda v: _is_list(v, lambda i: isinstance(i, str)), "a list of texts"),
    "regex": (_is_regex, "a regular expression"),
    "regexes": (lambda v: _is_list(v, _is_regex), "a list of regular expressions"),
    "number": (_is_number, "a number"),
    "integer": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "share": (lambda v: _is_number(v) and 0 <= v <= 1, "a number from 0 to 1"),
    "boolean": (lambda v: isinstance(v, bool), "true or false"),
    "bound": (lambda v: _is_number(v) or _is_time(v), "a number or an ISO 8601 time"),
    "values": (lambda v: _is_list(v, lambda i: not isinstance(i, list | dict)), "a list of values"),
    "pairs": (lambda v: _is_list(v, lambda i: isinstance(i, list) and len(i) == 2), "a list of pairs"),
    "mapping": (lambda v: isinstance(v, dict), "a mapping"),
}
"""What an argument may be: a test, and the words for what it needs. Anything else lists its words: `any|all`."""


# Running, with the library


def _context(docs: Path) -> AbstractDataContext:
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # read when the library is imported
    log = logging.getLogger("great_expectations")
    if log.level == logging.NOTSET:  # at INFO its import alone writes dozens of lines into the task's log
        log.setLevel(logging.WARNING)
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        data_docs_sites={"docs": site},
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _suite(context: AbstractDataContext, path: Path) -> Any:
    from great_expectations import ExpectationSuite
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    listed = read(path.read_bytes(), str(path)).value["expectations"]
    expectations = [
        ExpectationConfiguration(
            type=item["type"], kwargs={k: _argument(k, v) for k, v in item.items() if k != "type"}
        ).to_domain_obj()
        for item in listed
    ]
    return context.suites.add(ExpectationSuite(name=path.stem, expectations=expectations))


def _argument(name: str, value: Any) -> Any:
    """A time as text that the library reads as one: of a date alone it makes a date, which no column holds."""
    if name not in ("min_value", "max_value") or not isinstance(value, str):
        return value
    when = datetime.fromisoformat(value)
    return (when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when).isoformat()


def _frame(file: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tidemill.steps.context import StepError

    try:
        frame: pd.DataFrame = pq.read_table(file).to_pandas(date_as_object=False)
    except (OSError, pa.ArrowException) as e:
        raise StepError(f"{file} cannot be read: {e}") from e
    for name, dtype in frame.dtypes.items():
        if getattr(dtype, "tz", None) is not None:
            frame[name] = frame[name].dt.tz_convert("UTC").dt.tz_localize(None)
    return frame


def _validate(
    context: AbstractDataContext, suite: Any, name: str, frame: pd.DataFrame
) -> Sequence[ExpectationValidationResult]:
    """The results of the expectations that did not hold on one part, in the suite's order."""
    from great_expectations import Checkpoint, ValidationDefinition
    from great_expectations.checkpoint.actions import UpdateDataDocsAction

    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    definition = context.validation_definitions.add(ValidationDefinition(name=name, data=batch, suite=suite))
    checkpoint = Checkpoint(name=name, validation_definitions=[definition], actions=[UpdateDataDocsAction(name="docs")])
    found = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    order = {expectation.id: index for index, expectation in enumerate(suite.expectations)}
    (result,) = found.run_results.values()
    failed = [r for r in result.results if not r.success]
    return sorted(failed, key=lambda r: order.get(r.expectation_config.id, -1) if r.expectation_config else -1)


def _failure(part: str, result: ExpectationValidationResult) -> FailedExpectation:
    from tidemill.records import FailedExpectation

    config = result.expectation_config
    assert config is not None
    found = result.result
    columns = [config.kwargs.get(k) for k in ("column", "column_A", "column_B")] + [
        *config.kwargs.get("column_list", ())
    ]
    named = ", ".join(str(c) for c in columns if c is not None)
    return FailedExpectation(
        expectation=config.type,
        column=named or None,
        rows=found.get("unexpected_count"),
        of=found.get("element_count"),
        detail=f"{part}: {_detail(result)}"[:_LONGEST_DETAIL],
    )


def _detail(result: ExpectationValidationResult) -> str:
    raised = _raised(result.exception_info or {})
    if raised:
        return raised
    found = result.result
    if found.get("partial_unexpected_list"):
        examples = dict.fromkeys(str(value) for value in found["partial_unexpected_list"])
        return f"e.g. {', '.join(list(examples)[:_EXAMPLES])}"
    if "observed_value" in found:
        return f"observed {found['observed_value']}"
    return "did not hold"


def _raised(info: Mapping[str, Any]) -> str | None:
    """The message of the error that kept an expectation from being judged, if one did."""
    for each in (info, *(v for v in info.values() if isinstance(v, dict))):
        if each.get("raised_exception"):
            return " ".join(str(each.get("exception_message")).split())
    return None
