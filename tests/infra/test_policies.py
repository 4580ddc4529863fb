"""The policies: real actions only, nothing for all without a reason, and each thing only for what it is meant."""

from __future__ import annotations

import fnmatch
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import botocore.session
import pytest

from tests.infra.allowed import allows, policies
from tests.infra.roots import ACCOUNT, BATCH, SAGEMAKER, WATCHED, changed, root
from tidemill.infra.aws.policy import Condition, Statement, as_json, document, merged
from tidemill.infra.hcl import document as text_of
from tidemill.infra.root import Root
from tidemill.platforms import aws

FULL: Final = changed(
    {**SAGEMAKER, **WATCHED},
    data__version="object-store",
    data__keep="1 year",
    train__track="sagemaker",
    platform__processing={"machine": "ml.m5.xlarge"},
    platform__network={"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"]},
    platform__encryption_key=f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/1234",
)
# Service authorization reference: actions that are called otherwise than the operations that need them.
NO_OPERATION: Final = {
    "iam": {"PassRole"},  # asked of whoever hands a role to a service
    "s3": {
        "GetLifecycleConfiguration",
        "GetObjectVersion",
        "ListBucketVersions",
        "ListBucket",
        "PutLifecycleConfiguration",
        "AbortMultipartUpload",
    },
    "sagemaker": {"BatchPutMetrics"},  # an operation of the client `sagemaker-metrics`
}
UNNARROWED: Final = re.compile(r"AWS knows no resource")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Root]:
    made = tmp_path_factory.mktemp("roots")
    return [root(made / "one", flights=FULL), root(made / "two", flights=SAGEMAKER, ships=BATCH)]


def statements(roots: list[Root]) -> list[tuple[str, Statement]]:
    return [(name, one) for made in roots for name, told in made.policies.items() for one in told]


@cache
def operations(service: str) -> frozenset[str]:
    return frozenset(botocore.session.get_session().get_service_model(service).operation_names)


def test_every_action_is_a_real_one(roots: list[Root]) -> None:
    for name, one in statements(roots):
        for action in one.actions:
            service, _, operation = action.partition(":")
            known = operations(service) | NO_OPERATION.get(service, set())
            assert operation in known, (name, action)


def test_nothing_is_for_all_without_a_reason(roots: list[Root]) -> None:
    found = statements(roots)
    assert any("*" in one.resources for _, one in found)
    for name, one in found:
        assert not any("*" in action for action in one.actions), name
        for resource in one.resources:
            narrow = resource.startswith("${") or len(resource.split(":", 5)) == 6
            assert narrow or (resource == "*" and one.reason), (name, one.sid, resource)


def test_what_is_for_all_cannot_be_narrower(roots: list[Root]) -> None:
    """Those actions have no resource in the service authorization reference; the model of botocore does not tell."""
    without = {
        "batch:DescribeJobDefinitions", "batch:DescribeJobs", "batch:ListJobs", "cloudwatch:PutMetricData",
        "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
        "ec2:DescribeVpcs", "ecr:GetAuthorizationToken", "sagemaker:ListProcessingJobs", "sagemaker:ListTrainingJobs",
    }  # fmt: skip
    assert {action for _, one in statements(roots) if "*" in one.resources for action in one.actions} == without


def test_every_call_in_the_code_is_in_a_policy(roots: list[Root]) -> None:
    text = "".join(file.read_text() for file in Path(aws.__path__[0]).glob("*.py"))
    called = set(re.findall(r'(?:answering|calling)\((?:self\._aws, )?"(\w+:\w+)"\)', text))
    assert len(called) >= 12
    # No step asks for the versions of an object: the port has it for whoever writes one that does.
    called -= {"s3:ListBucketVersions"}
    assert called <= {action for _, one in statements(roots) for action in one.actions}


def test_a_role_is_passed_to_its_service_alone(roots: list[Root]) -> None:
    passing = [one for _, one in statements(roots) if "iam:PassRole" in one.actions]
    assert {one.conditions[0].variable for one in passing} == {"iam:PassedToService"}
    services = {value for one in passing for value in one.conditions[0].values}
    assert services == {"sagemaker.amazonaws.com", "ecs-tasks.amazonaws.com"}


JOB: Final = f"arn:aws:sagemaker:eu-west-1:{ACCOUNT}:training-job/"


@pytest.mark.parametrize(
    ("who", "action", "resource", "allowed"),
    [
        ("airflow_", "sagemaker:StopTrainingJob", f"{JOB}tm-1a2b3c4d-flights-1", True),
        ("airflow_", "sagemaker:StopTrainingJob", f"{JOB}somebody-elses", False),
        ("airflow_", "sagemaker:DeleteModel", f"{JOB}tm-1", False),
        ("airflow_", "s3:PutObject", "arn:aws:s3:::acme-ml/flights/tidemill/1a2b3c4d/code/x/code.tar.gz", True),
        ("airflow_", "s3:PutObject", "arn:aws:s3:::acme-ml/others/data", False),
        ("airflow_", "s3:GetObject", "arn:aws:s3:::acme-ml-2/flights/tidemill/x", False),
        ("airflow_", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", False),
        ("role_", "s3:GetObject", "arn:aws:s3:::acme-ml/flights/tidemill/1a2b3c4d/data/x/train.parquet", True),
        ("role_", "s3:PutObject", "arn:aws:s3:::acme-ml/flights/tidemill/1a2b3c4d/data/x/train.parquet", False),
        ("role_", "s3:PutObject", "arn:aws:s3:::acme-ml/flights/tidemill/1a2b3c4d/jobs/tm-1/output/model.pkl", True),
        (
            "role_",
            "s3:DeleteObject",
            "arn:aws:s3:::acme-ml/flights/tidemill/1a2b3c4d/jobs/tm-1/output/model.pkl",
            False,
        ),
        ("role_", "s3:DeleteObject", "arn:aws:s3:::acme-ml/checkpoints/tm-1/state", True),
        ("role_", "sagemaker:CreateTrainingJob", f"{JOB}tm-1", False),
    ],
)
def test_who_may_do_what(who: str, action: str, resource: str, allowed: bool, tmp_path: Path) -> None:
    made = policies(root(tmp_path, flights=SAGEMAKER), of=who).values()
    assert allows(made, {"action": action, "resource": resource, "context": {}}) is allowed


def test_a_policy_as_json_and_as_terraform_say_the_same() -> None:
    one = Statement(
        "Read",
        ("s3:GetObject", "s3:ListBucket"),
        ("arn:aws:s3:::${var.bucket}/x", "${module.key.arn}"),
        (Condition("StringEquals", "aws:RequestedRegion", ("${var.region}",)),),
        "A reason.",
    )
    values = {"var.bucket": "acme", "module.key.arn": "arn:key", "var.region": "eu-west-1"}
    assert as_json([one], values)["Statement"] == [
        {
            "Sid": "Read",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["arn:aws:s3:::acme/x", "arn:key"],
            "Condition": {"StringEquals": {"aws:RequestedRegion": ["eu-west-1"]}},
        }
    ]
    assert text_of([document("name", [one], "said\nby")]) == (
        "# said\n# by\n"
        'data "aws_iam_policy_document" "name" {\n'
        "  # A reason.\n"
        "  statement {\n"
        '    sid       = "Read"\n'
        '    actions   = ["s3:GetObject", "s3:ListBucket"]\n'
        '    resources = ["arn:aws:s3:::${var.bucket}/x", module.key.arn]\n'
        "\n"
        "    condition {\n"
        '      test     = "StringEquals"\n'
        '      variable = "aws:RequestedRegion"\n'
        "      values   = [var.region]\n"
        "    }\n"
        "  }\n"
        "}\n"
    )
    with pytest.raises(KeyError):
        as_json([one], {})


def test_statements_of_several_pipelines_become_one() -> None:
    told = [
        Statement("Read", ("s3:GetObject",), ("b",)),
        Statement("Read", ("s3:GetObject",), ("a", "b")),
        Statement("Read", ("s3:GetObject",), ("c",), (Condition("Bool", "x", ("true",)),)),
    ]
    assert [(one.sid, one.resources) for one in merged(told)] == [("Read", ("a", "b")), ("Read2", ("c",))]


def test_policies_fit_the_services_limits(roots: list[Root]) -> None:
    # "Managed policies: 6,144 characters"; "role inline policies in total: 10,240": IAM and AWS STS quotas. White space
    # does not count.
    def size(value: dict[str, Any]) -> int:
        return len(json.dumps(value, separators=(",", ":")))

    for made in roots:
        for name, policy in policies(made, of="airflow_").items():
            assert size(policy) <= 6144, name
        assert sum(map(size, policies(made, of="role_").values())) <= 10240


def test_the_pattern_of_jobs_is_that_of_their_names() -> None:
    from tidemill.steps import job_names

    assert "tm-{installation}" in Path(job_names.__file__).read_text()
    assert fnmatch.fnmatchcase("tm-1a2b3c4d-flights-6499c8840c-1", "tm-*")
