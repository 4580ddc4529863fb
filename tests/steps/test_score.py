"""Scoring on real rows, real models in MLflow and a real ledger: what is written, kept, replaced and refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from tests.steps.watched import MODEL, copied, day, rows, template
from tidemill.project import Project
from tidemill.records import AsOf, Scoring
from tidemill.steps import computing, predicting, score
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.ledger_io import read
from tidemill.steps.predictions import Header, Log
from tidemill.tools.predictor import Predictor

__all__ = ["template"]
Make = Callable[..., StepContext]
Context = Callable[..., StepContext]


@pytest.fixture
def context(make_context: Make, project: Project, template: Path) -> Context:
    """A run of the score's DAG over [`start`, `end`), with versions promoted at instants."""

    def make(
        table: pl.DataFrame | None,
        promotions: Mapping[str, datetime],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        run_id: str = "scheduled__1",
        **settings: Any,
    ) -> StepContext:
        start, end = start or day(4), end or day(5)
        copied(template, project.state)
        if table is not None:
            table.write_parquet(project.path("include/rows.parquet"))
        more = {name: settings.pop(name) for name in ("data", "evaluate", "pipeline", "promote") if name in settings}
        ctx = make_context(
            "score",
            dag_id="flights.score",
            run_id=run_id,
            results={"as_of": AsOf(instant=end, cause="scheduled", interval_start=start, interval_end=end)},
            score={"schedule": "monthly", **settings},
            **more,
        )
        with ctx.open_ledger() as ledger:
            for version, as_of in promotions.items():
                body = {"outcome": "promoted", "version": version}
                ledger.append(MODEL, "promotion", body, as_of=as_of, key=f"{version}/{as_of}")
        return ctx

    return make


def folder_of(project: Project, name: str = "as_of=20130501T000000Z") -> Path:
    return project.state / "predictions" / "flights" / name


def log_of(project: Project) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder_of(project).glob("*.parquet"))).sort("time", "id")


class TestRows:
    def test_every_row_of_the_window_has_key_time_and_what_the_champion_says_of_it(
        self, context: Context, project: Project
    ) -> None:
        source = pl.concat([rows(day(3), 31), rows(day(4), 30, seed=1), rows(day(5), 31)])
        ctx = context(source, {"1": day(3)}, rows=70, columns=["carrier"])
        made = score.run(ctx)
        assert (made.version, made.rows, made.parts, made.unscored) == ("1", 300, 5, 0)
        assert (made.start, made.end, made.as_of) == (day(4), day(5), day(5))
        assert made.path == str(folder_of(project))
        assert [f.name for f in sorted(Path(made.path).iterdir())] == [f"part-{i:05}.parquet" for i in range(5)]
        found = log_of(project)
        assert found.columns == ["id", "time", "carrier", "prediction", "probability_0", "probability_1",
                                 "model_version", "data_version", "as_of"]  # fmt: skip
        expected = source.filter(pl.col("time").is_between(day(4), day(5), closed="left")).sort("time", "id")
        assert found.select("id", "time", "carrier").equals(expected.select("id", "time", "carrier"))
        from tidemill.tools.mlflow import open_mlflow

        model = open_mlflow(ctx.connections, project).load(MODEL, "1").model
        proba = model.predict_proba(expected.drop("late").to_pandas())
        assert np.allclose(found.select("probability_0", "probability_1").to_numpy(), proba)
        assert found["prediction"].to_list() == proba.argmax(axis=1).tolist()
        assert set(found["model_version"]) == {"1"}
        assert set(found["data_version"]) == {made.data_version}

    def test_readers_of_the_whole_log_find_a_column_as_of(self, context: Context, project: Project) -> None:
        source = rows(day(4), 60)
        score.run(context(source, {"1": day(3)}))
        score.run(context(None, {"1": day(3)}, start=day(5), end=day(6), run_id="2"))
        folder = folder_of(project).parent
        for found in (pl.read_parquet(folder).to_pandas(), pd.read_parquet(folder)):
            assert dict(found["as_of"].value_counts()) == {"20130501T000000Z": 300, "20130601T000000Z": 300}

    def test_the_target_is_not_needed_and_not_part_of_the_data_version(self, context: Context) -> None:
        source = rows(day(4), 30)
        with_target = score.run(context(source, {"1": day(3)}))
        without = score.run(context(source.drop("late"), {"1": day(3)}))
        assert with_target == without

    def test_one_row(self, context: Context) -> None:
        made = score.run(context(rows(day(4), 30).head(1), {"1": day(3)}))
        assert (made.rows, made.parts) == (1, 1)

    def test_a_csv_and_another_source_than_the_trainings(self, context: Context, project: Project) -> None:
        rows(day(4), 30).drop("late").write_csv(project.path("include/new.csv"))
        made = score.run(context(rows(day(1), 30), {"1": day(3)}, source="include/new.csv"))
        assert made.rows == 300

    def test_categories_are_logged_as_their_texts(self, context: Context, project: Project) -> None:
        source = rows(day(4), 30).with_columns(pl.col("carrier").cast(pl.Categorical))
        score.run(context(source, {"1": day(3)}, columns=["carrier"], rows=100))
        assert log_of(project)["carrier"].to_list() == source.sort("time", "id")["carrier"].cast(pl.String).to_list()

    def test_a_number_for_a_regression(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, lambda frame: frame["wind"].to_numpy() * 2)
        score.run(context(rows(day(4), 30), {"1": day(3)}, evaluate={"task": "regression", "metrics": ["mae"]}))
        found = log_of(project)
        assert found["prediction"].to_list() == (rows(day(4), 30)["wind"] * 2).to_list()
        assert "probability_0" not in found.columns

    def test_a_model_of_labels_has_no_probabilities(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(monkeypatch, lambda frame: (frame["wind"] > 0).map({True: "late", False: "fine"}), classes=["fine", "late"])
        score.run(context(rows(day(4), 30), {"1": day(3)}))
        assert set(log_of(project)["prediction"]) == {"fine", "late"}
        assert "probability_late" not in log_of(project).columns

    def test_scores_that_are_no_numbers_are_counted(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        def spoiled(frame: pd.DataFrame) -> Any:
            values = np.full(len(frame), 0.4)
            values[:3] = [np.nan, np.inf, 0.5]
            return values

        use(monkeypatch, spoiled, classes=[0, 1])
        assert score.run(context(rows(day(4), 30), {"1": day(3)}, rows=300)).unscored == 2


def use(monkeypatch: pytest.MonkeyPatch, predict: Callable[[pd.DataFrame], Any], classes: Any = None) -> None:
    """Let the model that is loaded be one of the test's own."""

    class Model:
        pass

    model = Model()
    model.predict = predict  # type: ignore[attr-defined]
    monkeypatch.setattr(computing, "model_of", lambda *a, **named: Predictor(model, name="m", classes=classes))


class TestChampion:
    def test_none_is_skipped_with_the_reason(self, context: Context, project: Project) -> None:
        with pytest.raises(StepSkipped, match="no champion is in force at 2013-05-01"):
            score.run(context(rows(day(4), 30), {}))
        assert not folder_of(project).exists()

    def test_the_one_in_force_at_as_of_scores(self, context: Context) -> None:
        assert score.run(context(rows(day(4), 30), {"1": day(3), "2": day(5)})).version == "2"

    def test_one_promoted_later_does_not(self, context: Context) -> None:
        assert score.run(context(rows(day(4), 30), {"1": day(3), "2": day(5, 2)})).version == "1"

    def test_another_champion_replaces_what_was_scored_and_no_name_is_used_twice(
        self, context: Context, project: Project
    ) -> None:
        first = score.run(context(rows(day(4), 30), {"1": day(3)}, rows=100))
        names = {f.name for f in folder_of(project).iterdir()}
        second = score.run(context(None, {"2": day(4)}, rows=100, run_id="2"))
        assert (first.version, second.version) == ("1", "2")
        assert first.data_version == second.data_version
        assert set(log_of(project)["model_version"]) == {"2"}
        assert names.isdisjoint(f.name for f in folder_of(project).iterdir())
        assert log_of(project).height == 300

    def test_a_reader_never_sees_a_mix(self, context: Context, project: Project) -> None:
        score.run(context(rows(day(4), 30), {"1": day(3)}, rows=30))
        log, seen, over = Log(folder_of(project).parent, "flights", "flights"), set(), threading.Event()

        def look() -> None:
            while not over.is_set():
                found = log.read("time", day(4), day(5), until=day(5), key=["id"])
                assert found is not None
                seen.add((found.version, found.frame.height, tuple(found.others)))

        reader = threading.Thread(target=look)
        reader.start()
        try:
            for i, version in enumerate("2121"):
                score.run(context(None, {version: day(4, 2 + i)}, rows=30, run_id=f"r{i}"))
        finally:
            over.set()
            reader.join()
        assert seen <= {("1", 300, ()), ("2", 300, ())}
        assert seen


class TestAgain:
    def test_a_second_run_makes_nothing_anew_and_records_the_same(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = score.run(context(rows(day(4), 30), {"1": day(3)}))
        before = {f: f.stat().st_mtime_ns for f in folder_of(project).iterdir()}
        from tidemill.tools.mlflow import Mlflow

        monkeypatch.setattr(Mlflow, "fetch_version", lambda *a: pytest.fail("the model was fetched"))
        ctx = context(None, {"1": day(3)})
        assert score.run(ctx) == first
        assert {f: f.stat().st_mtime_ns for f in folder_of(project).iterdir()} == before
        with ctx.open_ledger() as ledger:
            (entry,) = ledger.entries(MODEL, kinds={"scoring"})
        assert read(entry, Scoring) == first

    def test_other_rows_are_scored_anew(self, context: Context, project: Project) -> None:
        first = score.run(context(rows(day(4), 30), {"1": day(3)}))
        second = score.run(context(rows(day(4), 30, seed=9), {"1": day(3)}))
        assert first.data_version != second.data_version
        assert set(log_of(project)["data_version"]) == {second.data_version}

    def test_what_was_damaged_is_made_anew(self, context: Context, project: Project) -> None:
        made = score.run(context(rows(day(4), 30), {"1": day(3)}, rows=100))
        parts = sorted(folder_of(project).iterdir())
        parts[1].write_bytes(parts[1].read_bytes()[:100])
        parts[2].unlink()
        assert score.run(context(None, {"1": day(3)}, rows=100)) == made
        assert log_of(project).height == 300

    def test_after_a_kill_the_finished_parts_are_kept(self, context: Context, project: Project, tmp_path: Path) -> None:
        ctx = context(rows(day(4), 30), {"1": day(3)}, rows=100)
        killed_at(ctx, 2, tmp_path)
        staging = Log(folder_of(project).parent, "flights", "flights").staging(day(5))
        kept = {f.name: f.stat().st_mtime_ns for f in staging.glob("*.parquet")}
        assert sorted(kept) == ["part-00000.parquet", "part-00001.parquet"]
        assert not folder_of(project).exists()
        assert list((staging.parents[1]).glob("flights/*")) == []  # nothing for a reader yet
        made = score.run(ctx)
        found = {f.name: f.stat().st_mtime_ns for f in folder_of(project).iterdir()}
        assert {name: found[name] for name in kept} == kept
        assert (made.rows, made.parts, len(found)) == (300, 3, 3)
        assert not staging.exists()

    @pytest.mark.parametrize("change", ["champion", "rows"])
    def test_nothing_is_kept_of_another_model_or_other_rows(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        ctx = context(rows(day(4), 30), {"1": day(3)}, rows=100)
        original = predicting.write

        def twice(table: Any, file: Path) -> None:
            if file.name == "part-00002.parquet":
                raise OSError(5, "Input/output error")
            original(table, file)

        monkeypatch.setattr(predicting, "write", twice)
        with pytest.raises(StepError, match="What is done is kept"):
            score.run(ctx)
        monkeypatch.setattr(predicting, "write", original)
        changed = rows(day(4), 30, seed=9) if change == "rows" else None
        made = score.run(context(changed, {"2": day(4)} if change == "champion" else {}, rows=100))
        found = log_of(project)
        assert made.version == ("2" if change == "champion" else "1")
        assert set(found["model_version"]) == {made.version}
        assert set(found["data_version"]) == {made.data_version}
        assert found.height == 300


def killed_at(ctx: StepContext, batch: int, tmp_path: Path) -> None:
    """Score in a process that gets SIGKILL when it has written so many parts."""
    import cloudpickle

    def run() -> None:
        original, count = predicting.write, 0

        def write(table: Any, file: Path) -> None:
            nonlocal count
            if count == batch:
                os.kill(os.getpid(), signal.SIGKILL)
            original(table, file)
            count += 1

        with patch.object(predicting, "write", write):
            score.run(ctx)

    job = tmp_path / "job.pkl"
    job.write_bytes(cloudpickle.dumps(run))
    code = f"import pickle; pickle.load(open({str(job)!r}, 'rb'))()"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, f"{root}/plugins"])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]


class TestRefused:
    def test_an_empty_window_names_the_sources_first_and_last_time(self, context: Context, project: Project) -> None:
        with pytest.raises(StepError, match=r"no rows with 2013-04-01 .* its first is at 2013-01-01"):
            score.run(context(rows(day(1), 30), {"1": day(3)}))
        assert not folder_of(project).exists()

    def test_a_source_without_the_key_names_it(self, context: Context) -> None:
        with pytest.raises(StepError, match='has no column "id"'):
            score.run(context(rows(day(4), 30).drop("id"), {"1": day(3)}))

    def test_a_column_that_the_model_needs_is_named(self, context: Context, project: Project) -> None:
        with pytest.raises(StepError, match=r"rows 1 to 300 of the window: version 1 of flights.*lack .*: wind$"):
            score.run(context(rows(day(4), 30).drop("wind"), {"1": day(3)}))
        assert not folder_of(project).exists()

    def test_a_model_that_fails_on_one_batch_says_on_which_and_keeps_the_others(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(frame: pd.DataFrame) -> Any:
            if (frame["id"] == 250).any():
                raise ValueError("a strange row")
            return np.full(len(frame), 0.4)

        use(monkeypatch, fails, classes=[0, 1])
        with pytest.raises(StepError, match=r"rows 201 to 300 of the window: .*a strange row"):
            score.run(context(rows(day(4), 30), {"1": day(3)}, rows=100))
        assert not folder_of(project).exists()
        use(monkeypatch, lambda frame: np.full(len(frame), 0.4), classes=[0, 1])
        assert score.run(context(None, {"1": day(3)}, rows=100)).parts == 3

    def test_a_source_that_changes_while_it_is_read(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ctx = context(rows(day(4), 30), {"1": day(3)}, rows=100)
        original = predicting.Rows.digests

        def then_changed(self: Any) -> Any:
            found = original(self)
            rows(day(4), 30, seed=5).write_parquet(project.path("include/rows.parquet"))
            return found

        monkeypatch.setattr(predicting.Rows, "digests", then_changed)
        with pytest.raises(StepError, match="changed while it was read") as caught:
            score.run(ctx)
        assert caught.value.retry
        assert not folder_of(project).exists()

    def test_a_source_that_grows_while_it_is_read(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ctx = context(rows(day(4), 10), {"1": day(3)}, rows=100)
        original = predicting.Rows.digests

        def then_changed(self: Any) -> Any:
            found = original(self)
            longer = pl.concat([rows(day(4), 10), rows(day(4, 20), 5)])
            longer.write_parquet(project.path("include/rows.parquet"))
            return found

        monkeypatch.setattr(predicting.Rows, "digests", then_changed)
        with pytest.raises(StepError, match="changed while it was read"):
            score.run(ctx)

    def test_a_full_disk_says_so_and_may_be_tried_again(
        self, context: Context, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import errno

        def full(table: Any, file: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(predicting, "write", full)
        with pytest.raises(StepError, match="the disk is full") as caught:
            score.run(context(rows(day(4), 30), {"1": day(3)}))
        assert caught.value.retry

    def test_a_folder_that_cannot_be_made(self, context: Context, project: Project) -> None:
        project.path("include/file").write_text("no folder")
        with pytest.raises(StepError, match=r"predictions cannot be written to .*include/file/log"):
            score.run(context(rows(day(4), 30), {"1": day(3)}, output="include/file/log"))

    def test_the_log_of_another_pipeline(self, context: Context) -> None:
        score.run(context(rows(day(4), 30), {"1": day(3)}, output="include/log"))
        with pytest.raises(StepError, match="is the log of the pipeline 'flights'"):
            score.run(context(None, {}, output="include/log", pipeline="other", promote={"model": MODEL}))

    def test_a_source_with_a_column_of_the_log_as_key(self, context: Context) -> None:
        source = rows(day(4), 30).rename({"id": "probability_1"})
        with pytest.raises(StepError, match="a column 'probability_1' of its own"):
            score.run(context(source, {"1": day(3)}, data={"key": ["probability_1"]}))

    def test_a_version_that_is_gone(self, context: Context) -> None:
        with pytest.raises(StepError, match="version 9 of flights"):
            score.run(context(rows(day(4), 30), {"9": day(3)}))


def test_the_file_says_where_it_comes_from(context: Context) -> None:
    made = score.run(context(rows(day(4), 30), {"1": day(3)}))
    (file,) = Path(made.path).iterdir()
    header = Header.of(file)
    assert (header.pipeline, header.model, header.version, header.rows) == ("flights", "flights", "1", 300)
    assert header.classes == [0, 1]
    assert pq.read_metadata(file).row_group(0).column(0).compression == "ZSTD"


def test_a_window_by_hand_is_the_sections_own(make_context: Make) -> None:
    from tidemill.steps.window import window_of

    ctx = make_context("score", as_of=day(5), cause="manual", score={"window": "7 d"})
    assert ctx.spec.score is not None
    assert window_of(ctx, ctx.spec.score) == (day(5) - timedelta(days=7), day(5))
