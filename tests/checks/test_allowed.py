"""Which names a spec may use: the default list, the setting, attacks, and what was probably meant."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.checks.allowed import STANDARD, Use, distribution, full_name, why_not
from tidemill.checks.code import module_file

BASH = "airflow.providers.standard.operators.bash.BashOperator"


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONFIG", str(tmp_path / "airflow.cfg"))
    monkeypatch.delenv("AIRFLOW__TIDEMILL__ALLOW", raising=False)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        (BASH, "operator"),
        ("BashOperator", "operator"),
        ("airflow.providers.standard.sensors.filesystem.FileSensor", "operator"),
        ("include.flows.operators.Mine", "operator"),
        ("include.flows.tasks:clean", "callable"),
        ("airflow.sdk.Asset", "object"),
        ("airflow.sdk.TriggerRule", "object"),
        ("datetime.timedelta", "object"),
        ("airflow.sdk.CronTriggerTimetable", "timetable"),
        ("airflow.timetables.trigger.CronTriggerTimetable", "timetable"),
        ("airflow.providers.smtp.notifications.smtp.SmtpNotifier", "notifier"),
        ("airflow.providers.standard.triggers.file.FileDeleteTrigger", "trigger"),
    ],
)
def test_what_is_allowed_by_default(name: str, use: Use) -> None:
    assert why_not(name, use) is None


@pytest.mark.parametrize("use", ["operator", "callable", "object", "notifier", "timetable", "trigger"])
@pytest.mark.parametrize(
    "name",
    [
        "subprocess.Popen",
        "subprocess:Popen",
        "os.system",
        "os:system",
        "posix.system",
        "builtins.eval",
        "builtins:eval",
        "importlib.import_module",
        "airflow.models.connection.Connection",
        "airflow.utils.process_utils.execute_in_subprocess",
        "airflow.providers.standard.hooks.subprocess.Popen",
        "airflow.providers.standard.hooks.subprocess:Popen",
        "airflow.providers.standard.hooks.subprocess.os",
        "airflow.providers.standard.operators.python.subprocess",
        "airflow.providers.standard.operators.bash.BashOperator.__init__",
        "airflow.providers.standard.example_dags.example_hitl_operator.dag",
        "airflow.providers.celery.executors.celery_executor_utils.subprocess",
        "airflow.sdk.os.system",
        "airflow.sdk.execution_time.supervisor.os",
        "datetime.sys",
        "datetime.sys.modules",
        "kubernetes.client.models.os",
        "include.x.__class__",
        "include.x:__import__",
        "include.__init__.x",
        "include..x",
        "include.x.",
        ".include.x",
        "..os.system",
        "include/../os.system",
        "include.x;import os",
        "include.x:f()",
        "include.x f",
        "include.x\n.f",
        "іnclude.x.Y",
        "аirflow.providers.standard.operators.bash.BashOperator",
        "ｉnclude.x:f",
        "include.x\u200b.Y",
        "includе:f",
        "",
        "x" * 100_000,
        "a." * 50_000 + "b",
        "includes.x.Y",
        "include_evil.x.Y",
        "airflow.providers",
        "airflow.providers.",
        "tidemill.airflow.operators.StepOperator",
    ],
)
def test_attacks_are_refused(name: str, use: Use) -> None:
    assert why_not(name, use) is not None


def test_a_lookalike_is_named() -> None:
    found = why_not("аirflow.providers.standard.operators.bash.BashOperator", "operator")
    assert found is not None
    assert 'holds "а" (CYRILLIC SMALL LETTER A)' in found[0]
    assert why_not("ｉnclude.x.Y", "operator") == (
        '"ｉnclude.x.Y" holds "ｉ" (FULLWIDTH LATIN SMALL LETTER I): names are written in ASCII',
        'did you mean "include.x.Y"?',
    )


def test_a_class_is_judged_by_where_it_is_defined() -> None:
    found = why_not("airflow.providers.standard.hooks.subprocess.Popen", "object")
    assert found is not None
    assert '"airflow.providers.standard.hooks.subprocess.Popen" is "subprocess.Popen"' in found[0]


@pytest.mark.parametrize(
    ("name", "use", "hint"),
    [
        ("BashOprator", "operator", 'did you mean "BashOperator"?'),
        ("bash_operator", "operator", 'did you mean "BashOperator"?'),
        ("SageMakerTrainingOperator", "operator",
         'did you mean "airflow.providers.amazon.aws.operators.sagemaker.SageMakerTrainingOperator"?'),
        ("airflow.operators.bash.BashOperator", "operator", 'did you mean "BashOperator"?'),
        ("airflow.providers.standard.operators.bsh.BashOperator", "operator", f'did you mean "{BASH}"?'),
        ("airflow.providers.standard.operators.BashOperator", "operator", f'did you mean "{BASH}"?'),
        ("airflow.providers.standard.operators.bash.BashOperatr", "operator", f'did you mean "{BASH}"?'),
        ("airflow.providers.amzon.aws.operators.s3.X", "operator", 'did you mean "airflow.providers.amazon"?'),
        ("incldue.flows:clean", "callable", 'did you mean "include.flows:clean"?'),
        ("include.flows.clean", "callable", "e.g. include.flows.tasks:clean"),
        ("include.flows:Clean", "operator", "e.g. include.flows.Clean"),
        ("kubernetes.client.V1Pod", "object", 'did you mean "kubernetes.client.models.V1Pod"?'),
        ("airflow.sdk.Aset", "object", 'did you mean "airflow.sdk.Asset"?'),
        ("airflow.providers.apache.spark.operators.spark_submit.SparkSubmitOperator", "operator",
         "install it (pip install apache-airflow-providers-apache-spark), on workers too"),
    ],
)  # fmt: skip
def test_what_was_probably_meant(name: str, use: Use, hint: str) -> None:
    found = why_not(name, use)
    assert found is not None
    assert found[1] == hint


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("airflow.providers.amazon.aws.operators.s3.X", "apache-airflow-providers-amazon"),
        ("airflow.providers.microsoft.azure.operators.X", "apache-airflow-providers-microsoft-azure"),
        ("airflow.providers.cncf.kubernetes.operators.pod.X", "apache-airflow-providers-cncf-kubernetes"),
        ("airflow.providers.common.sql.operators.sql.X", "apache-airflow-providers-common-sql"),
    ],
)
def test_the_distribution_of_a_provider(name: str, wanted: str) -> None:
    assert distribution(name) == wanted


def test_the_setting_adds_names_and_globs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not("email.message.Message", "object") is not None
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ALLOW", "email.*, json:dumps  wsgiref.util.FileWrapper")
    assert why_not("email.message.Message", "object") is None
    assert why_not("json:dumps", "callable") is None
    assert why_not("json:loads", "callable") is not None
    assert why_not("wsgiref.util.FileWrapper", "object") is None
    # The glob does not reach what the module itself has imported.
    assert why_not("email.message.quopri", "object") is not None
    # An exact name is taken, wherever it is from.
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ALLOW", "email.message.Policy email.mime.text.MIMENonMultipart")
    assert why_not("email.mime.text.MIMENonMultipart", "object") is None


def test_the_table_of_the_standard_provider_is_complete() -> None:
    """Against the installed provider's files: every public operator and sensor, under its class's name."""
    found = {}
    for package in ("operators", "sensors"):
        init = module_file(f"airflow.providers.standard.{package}")
        assert init is not None
        for file in init.parent.glob("*.py"):
            for node in ast.parse(file.read_bytes()).body:
                if isinstance(node, ast.ClassDef) and node.name[0] != "_" and node.bases:
                    found[node.name] = f"airflow.providers.standard.{package}.{file.stem}.{node.name}"
    no_operators = {"BranchMixIn", "DagIsPaused", "TriggerDagRunLink", "ExternalDagLink"}
    assert {name: full for name, full in found.items() if name not in no_operators} == STANDARD
    assert full_name("BashOperator", "operator") == BASH
    assert full_name("BashOperator", "object") == "BashOperator"


def test_every_public_class_of_the_sdk_may_be_an_object() -> None:
    code = """
import airflow.sdk, inspect, json
found = {name: getattr(airflow.sdk, name) for name in airflow.sdk.__all__ if name[0].isupper()}
print(json.dumps([[name, one.__module__, one.__qualname__] for name, one in found.items() if inspect.isclass(one)]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    from tidemill.checks.allowed import elsewhere

    classes = json.loads(done.stdout.splitlines()[-1])
    assert len(classes) > 50
    for name, module, real in classes:
        if module == "airflow.sdk.definitions.callback":  # it imports whatever name it is given
            assert elsewhere(f"airflow.sdk.{name}", "object", module, real) is not None
            continue
        assert why_not(f"airflow.sdk.{name}", "object") is None
        assert elsewhere(f"airflow.sdk.{name}", "object", module, real) is None


def test_nothing_that_is_named_is_imported() -> None:
    code = (
        "import sys\n"
        "from tidemill.checks.allowed import why_not\n"
        "before = set(sys.modules)\n"
        "for name in ('BashOperator', 'SageMakerTrainingOperator', 'airflow.sdk.Asset', 'antigravity.X', 'this.X',\n"
        "             'airflow.providers.standard.hooks.subprocess.Popen', 'kubernetes.client.models.V1Pod',\n"
        "             'airflow.providers.amazon.aws.operators.sagemaker.SageMakerTrainingOperator'):\n"
        "    why_not(name, 'operator'), why_not(name, 'object')\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'airflow', 'antigravity', 'this', 'kubernetes', 'boto3', 'subprocess'}))"
    )
    environment_code = [sys.executable, "-c", code]
    done = subprocess.run(environment_code, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
