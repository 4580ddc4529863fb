"""The needs of pipelines on AWS as a root of Terraform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from tidemill.infra.aws import airflow_access, job_access
from tidemill.infra.aws.alarms import alarms_of
from tidemill.infra.aws.policy import Statement, document, merged
from tidemill.infra.aws.using import Role, Using, bucket_of, image_of, role_of
from tidemill.infra.hcl import Attribute, Block, Raw, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Asked, InfraProblem, Named, Needs, Pipeline
from tidemill.infra.root import Made, Root, comment
from tidemill.platforms.aws.metrics import NAMESPACE, plain
from tidemill.platforms.aws.tracking import name_of as experiment_of

# Quotas of IAM ("IAM and AWS STS quotas"), KMS (CreateAlias), Batch (CreateComputeEnvironment; Terraform adds 26
# characters to a prefix) and CloudWatch (PutMetricAlarm): the services' own references, November 2026.
_POLICY: Final = Limit("an IAM policy's name", 128)
_PROFILE: Final = Limit("an IAM role's name", 64)
_ENVIRONMENT: Final = Limit("a compute environment's name, with what Terraform adds", 128 - 27)
_ALARM: Final = Limit("an alarm's name", 255)
_GROUPS: Final = {"sagemaker": "/aws/sagemaker/TrainingJobs", "batch": "/aws/batch/job"}
"""The log groups that the services write to: they prescribe them."""
_TRUSTED: Final = {"sagemaker": "sagemaker.amazonaws.com", "batch": "ecs-tasks.amazonaws.com"}
_STEPS: Final[dict[str, Callable[[Using], Iterator[Statement]]]] = {
    "train": airflow_access.train,
    "wait": airflow_access.wait,
    "track": airflow_access.track,
    "monitor": airflow_access.monitor,
}
_JOBS: Final[dict[str, Callable[[Using], Iterator[Statement]]]] = {
    "files": job_access.files,
    "image": job_access.image,
    "logs": job_access.logs,
    "network": job_access.network,
    "disks": job_access.disks,
}


def render(needs: Needs, prefix: str) -> Root:
    """The root.

    Raises:
        InfraProblem: the specs are of several accounts or regions, or a name grows too long.
    """
    return _Aws(needs, prefix).render()


class _Aws:
    """The root as it grows; what it holds by name was added before what refers to it."""

    def __init__(self, needs: Needs, prefix: str) -> None:
        self.needs = needs
        self.prefix = prefix
        self.root = Root(__package__)
        self.keys: dict[str, str] = {}
        self.buckets: dict[str, str] = {}
        self.roles: dict[str, str] = {}
        self.created_key = ""

    def render(self) -> Root:
        role = self._place()
        self._keys()
        self._buckets()
        self._logs()
        self._repositories()
        self._queues()
        self._endpoints()
        using = {pipeline.name: self._using(pipeline, role) for pipeline in self.needs.pipelines}
        self._roles(using)
        self._airflow(using)
        self._alarms()
        self._outputs()
        self._tell()
        return self.root

    def _place(self) -> Role:
        """The provider, its region and account."""
        needs = self.needs
        region = needs.one("platform.region", lambda p: p.platform.region)
        found = {p.name: role_of(p.platform.role) for p in needs.pipelines}
        needs.one("platform.role", lambda p: f"account {role.account}" if (role := found[p.name]) else None)
        role = next(filter(None, found.values()), None)
        if region is None or role is None:
            asked = needs.pipelines[0].asked("platform")
            raise InfraProblem(f"{asked}: the account is that of platform.role, the region platform.region: name both")
        first = needs.pipelines
        self.root.variable("prefix", "string", "What names begin with that no spec says.", self.prefix)
        self.root.variable("region", "string", "The region.", region, [p.asked("platform.region") for p in first])
        self.root.variable(
            "account", "string", "The account; Terraform refuses another one.", role.account,
            [p.asked("platform.role") for p in first],
        )  # fmt: skip
        self.root.variable("tags", "map(string)", "Tags of everything.", self._tags())
        tags = Block("default_tags", (), (Attribute("tags", Raw("var.tags")),))
        body = (
            Attribute("region", Raw("var.region")),
            Attribute("allowed_account_ids", [Raw("var.account")]),
            tags,
        )
        self.root.main.append(Block("provider", ("aws",), body))
        return role

    def _tags(self) -> dict[str, Value]:
        """The tags that all pipelines have, and their owner if they have one."""
        pipelines = self.needs.pipelines
        common = set(pipelines[0].platform.tags.items())
        for pipeline in pipelines[1:]:
            common &= set(pipeline.platform.tags.items())
        owners = {pipeline.owner for pipeline in pipelines}
        owner = {"owner": owners.pop()} if len(owners) == 1 else {}
        names = {"tidemill-pipeline": pipelines[0].name} if len(pipelines) == 1 else {}
        return dict(sorted({**names, **owner, **dict(common)}.items()))

    # What is stored

    def _keys(self) -> None:
        """The keys that specs name are looked up; where a spec names none, one is created for what is created."""
        for key in self.needs.named("platform.encryption_key", lambda p: p.platform.encryption_key):
            label = identifier(f"key_{key.name.rpartition('/')[2]}")
            given = self.root.variable(label, "string", "The key that encrypts.", key.name, key.asked)
            body = (Attribute("key_id", given),)
            self.root.main.append(Block("data", ("aws_kms_key", label), body, comment(key.asked)))
            self.keys[key.name] = f"data.aws_kms_key.{label}.arn"
            self.root.used.append(Made("encryption key", key.name, key.asked))
        without = [p for p in self.needs.pipelines if not p.platform.encryption_key]
        needed = [p for p in without if not {"bucket", "logs", "image"} <= p.existing]
        if not needed:
            return
        asked = tuple(p.asked("platform.bucket") for p in needed)
        self.root.module(
            "key",
            "key",
            {
                "alias": Raw("var.prefix"),
                "account": Raw("var.account"),
                "region": Raw("var.region"),
                "partition": self._partition,
                "encrypts_logs": any("logs" not in p.existing for p in needed),
            },
            Made("encryption key", f"alias/{self.prefix}", asked),
        )
        self.created_key = "module.key.arn"

    @property
    def _partition(self) -> str:
        role = role_of(self.needs.pipelines[0].platform.role)
        return role.partition if role else "aws"

    def _key(self, pipeline: Pipeline) -> str:
        """The expression for the key that encrypts what a pipeline stores; empty if it is not known here."""
        named = pipeline.platform.encryption_key
        if named:
            return self.keys[named]
        return "" if "bucket" in pipeline.existing else self.created_key

    def _buckets(self) -> None:
        expire: dict[str, dict[str, Value]] = {}
        asked: dict[str, list[Asked]] = {}
        users: dict[str, list[Pipeline]] = {}
        for pipeline in self.needs.pipelines:
            for key, address, below, days in self._places(pipeline):
                bucket, path = bucket_of(address)
                prefix = "/".join(filter(None, (path, below))) + "/"
                expire.setdefault(bucket, {})[prefix.lstrip("/")] = days
                asked.setdefault(bucket, []).append(pipeline.asked(key))
                users.setdefault(bucket, []).append(pipeline)
        for name in sorted(expire):
            self._bucket(name, expire[name], tuple(asked[name]), users[name])
        if any("bucket" not in p.existing for p in self.needs.pipelines):
            self.root.variable("work_days", "number", "Days for which code, data and outputs of jobs are kept.", 180)
            self.root.variable("checkpoint_days", "number", "Days for which checkpoints are kept.", 30)
            self.root.variable("noncurrent_days", "number", "Days for which a replaced version is kept.", 30)

    def _places(self, pipeline: Pipeline) -> Iterator[tuple[str, str, str, Raw]]:
        """Where a pipeline keeps what: the spec's key, an address, the folder below it, and how long."""
        if pipeline.platform.bucket:
            yield "platform.bucket", pipeline.platform.bucket, "tidemill", Raw("var.work_days")
        spot = pipeline.spec.train.resources.spot
        if spot is not None:
            yield "train.resources.spot.checkpoint", spot.checkpoint, "", Raw("var.checkpoint_days")

    def _bucket(self, name: str, expire: dict[str, Value], asked: tuple[Asked, ...], users: list[Pipeline]) -> None:
        label = identifier(f"bucket_{name}")
        variable = self.root.variable(label, "string", "A bucket's name.", name, asked)
        self.buckets[name] = f"arn:{self._partition}:s3:::${{{variable}}}"
        # Of pipelines that disagree about it, `needs.named` complains.
        (found,) = (one for one in self.needs.named("platform.bucket", lambda p: name if p in users else None))
        made = Made("bucket", name, asked)
        if found.existing:
            self.root.used.append(made)
            return
        self.root.module(
            "bucket",
            label,
            {
                "name": variable,
                "kms_key_arn": Raw(self._key(users[0])),
                "noncurrent_days": Raw("var.noncurrent_days"),
                "expire_days": dict(sorted(expire.items())),
            },
            made,
        )

    def _logs(self) -> None:
        for group in self.needs.named("train.service", lambda p: _GROUPS[p.service], "logs"):
            made = Made("log group", group.name, group.asked)
            if group.existing:
                self.root.used.append(made)
                continue
            service = group.users[0].service
            days = self.root.variable("log_days", "number", "Days for which logs are kept.", 365)
            key = self.keys.get(group.users[0].platform.encryption_key or "", self.created_key)
            inputs = {"name": group.name, "retention_days": days, "kms_key_arn": Raw(key)}
            self.root.module("logs", f"logs_{service}", inputs, made)

    def _repositories(self) -> None:
        """Repositories of the account's own ECR; what lies elsewhere is somebody else's."""

        def repository(pipeline: Pipeline) -> str | None:
            image, role = image_of(pipeline.spec.train.image), role_of(pipeline.platform.role)
            own = image and role and (image.account, image.region) == (role.account, pipeline.platform.region)
            return image.name if image and own else None

        for found in self.needs.named("train.image", repository):
            made = Made("image repository", found.name, found.asked)
            if found.existing:
                self.root.used.append(made)
                continue
            label = identifier(f"repository_{found.name}")
            days = self.root.variable("untagged_days", "number", "Days for which images without a tag are kept.", 14)
            key = self.keys.get(found.users[0].platform.encryption_key or "", self.created_key)
            inputs = {"name": found.name, "kms_key_arn": Raw(key), "untagged_days": days}
            self.root.output(f"{label}_url", Raw(f"{self.root.module('repository', label, inputs, made)}.url"),
                             "What images are pushed to.")  # fmt: skip

    # What runs

    def _queues(self) -> None:
        def named(key: str) -> tuple[Named, ...]:
            return self.needs.named(
                f"platform.{key}", lambda p: getattr(p.platform, key) if p.service == "batch" else None
            )

        for queue in named("queue"):
            self._queue(queue, spot=False)
        for queue in named("spot_queue"):
            self._queue(queue, spot=True)

    def _queue(self, queue: Named, *, spot: bool) -> None:
        name = queue.name.rpartition("/")[2]
        made = Made("queue of spot machines" if spot else "queue", name, queue.asked)
        if queue.existing:
            self.root.used.append(made)
            return
        checked(name, _ENVIRONMENT, queue.asked)
        if "machines" not in self.root.modules:
            self._machines(queue)
        label = identifier(f"queue_{name}")
        needed = [pipeline.spec.train.resources for pipeline in queue.users]
        processors = sum((one.cpu or 1) * one.count for one in needed)
        machines: list[Value] = ["g4dn", "g5"] if any(one.gpu for one in needed) else ["optimal"]
        self.root.module(
            "queue",
            label,
            {
                "name": self.root.variable(label, "string", "A queue's name.", name, queue.asked),
                "spot": spot,
                "max_vcpus": self.root.variable(
                    f"{label}_max_vcpus", "number", "Processors at most: at first, each training once.", processors
                ),
                "instance_types": self.root.variable(
                    f"{label}_machines", "list(string)", "Machine types or families.", machines
                ),
                "instance_profile_arn": Raw("module.machines.instance_profile_arn"),
                "subnets": Raw("var.batch_subnets"),
                "security_groups": Raw("var.batch_security_groups"),
            },
            made,
        )

    def _machines(self, queue: Named) -> None:
        checked(f"{self.prefix}-batch", _PROFILE, queue.asked)
        self.root.variable("batch_subnets", "list(string)", "The subnets of the queues' machines.")
        self.root.variable("batch_security_groups", "list(string)", "The security groups of the queues' machines.")
        made = Made("role of the queues' machines", f"{self.prefix}-batch", queue.asked)
        self.root.module(
            "machines", "machines", {"name": Raw('"${var.prefix}-batch"'), "partition": self._partition}, made
        )

    def _endpoints(self) -> None:
        def subnets(pipeline: Pipeline) -> str | None:
            network = pipeline.platform.network
            return ",".join(sorted(network.subnets)) or None if network is not None else None

        for found in self.needs.named("platform.network", subnets):
            names: list[Value] = [*found.name.split(",")]
            label = identifier(f"endpoint_{names[0]}")
            made = Made("endpoint of S3", found.name, found.asked)
            if found.existing:
                self.root.used.append(made)
                continue
            given = self.root.variable(
                f"{label}_subnets", "set(string)", "Subnets that jobs run in.", names, found.asked
            )
            self.root.module("endpoint", label, {"subnets": given, "region": Raw("var.region")}, made)

    # Who may do what

    def _using(self, pipeline: Pipeline, role: Role) -> Using:
        platform, train = pipeline.platform, pipeline.spec.train
        bucket, path = bucket_of(platform.bucket or "")
        spot, image, network = train.resources.spot, image_of(train.image), platform.network
        kept, below = bucket_of(spot.checkpoint) if spot is not None else ("", "")
        base = f"arn:{role.partition}"
        own = role_of(platform.role) or role
        label = identifier(f"role_{own.name}")
        name = self.root.variable(label, "string", "A role's name.", own.name, (pipeline.asked("platform.role"),))
        queues = [q for q in (platform.queue, platform.spot_queue) if q and pipeline.service == "batch"]
        key = self._key(pipeline)
        return Using(
            partition=role.partition,
            service=pipeline.service,
            bucket=self.buckets[bucket],
            work="/".join(filter(None, (self.buckets[bucket], path, "tidemill"))),
            role=f"{base}:iam::${{var.account}}:role{own.path}${{{name}}}",
            experiment=experiment_of(pipeline.name).lower(),
            log_group=_GROUPS[pipeline.service],
            checkpoints="/".join(filter(None, (self.buckets[kept], below))) if kept else "",
            checkpoint_bucket=self.buckets[kept] if kept else "",
            queues=tuple(self._queue_arn(queue, base) for queue in queues),
            repository=f"{base}:ecr:{image.region}:{image.account}:repository/{image.name}" if image else "",
            key=f"${{{key}}}" if key else "",
            encrypts_disks=bool(platform.encryption_key),
            subnets=tuple(network.subnets) if network else (),
            security_groups=tuple(network.security_groups) if network else (),
        )

    def _queue_arn(self, queue: str, base: str) -> str:
        label = identifier(f"queue_{queue.rpartition('/')[2]}")
        name = f"${{var.{label}}}" if label in self.root.variables else queue.rpartition("/")[2]
        return f"{base}:batch:${{var.region}}:${{var.account}}:job-queue/{name}"

    def _roles(self, using: dict[str, Using]) -> None:
        for found in self.needs.named("platform.role", lambda p: p.platform.role):
            role = role_of(found.name)
            assert role is not None
            made = Made("role of jobs", role.name, found.asked)
            if found.existing:
                self.root.used.append(made)
                continue
            label = identifier(f"role_{role.name}")
            used = [using[pipeline.name] for pipeline in found.users]
            policies = self._policies(label, _JOBS, dict.fromkeys(_JOBS, used), found.asked)
            services: list[Value] = [_TRUSTED[service] for service in sorted({one.service for one in used})]
            inputs: dict[str, Value] = {
                "name": Raw(f"var.{label}"),
                "path": role.path,
                "account": Raw("var.account"),
                "services": services,
                "policies": policies,
            }
            self.roles[found.name] = f"{self.root.module('role', label, inputs, made)}.arn"

    def _airflow(self, using: dict[str, Using]) -> None:
        self.root.variable(
            "airflow_roles", "set(string)",
            "Names of the roles that Airflow's workers and triggerer run as: they get the policies of the steps.", [],
        )  # fmt: skip
        for found in self.needs.named("platform.connection", lambda p: p.connection):
            label = identifier(f"airflow_{found.name}")
            steps = {
                step: [using[p.name] for p in found.users if ("train" if step == "wait" else step) in p.tasks]
                for step in _STEPS
            }
            plain = identifier(found.name).replace("_", "-")
            for step in steps:
                checked(f"{self.prefix}-{plain}-{step}", _POLICY, found.asked)
            inputs: dict[str, Value] = {
                "prefix": Raw(f'"${{var.prefix}}-{plain}"'),
                "policies": self._policies(label, _STEPS, steps, found.asked),
                "roles": Raw("var.airflow_roles"),
            }
            made = Made("policies of the connection", found.name, found.asked)
            self.root.output(f"{label}_policies", Raw(f"{self.root.module('airflow', label, inputs, made)}.policies"),
                             f"The policies for who the connection {found.name} signs as, by step.")  # fmt: skip

    def _policies(
        self,
        label: str,
        makers: dict[str, Callable[[Using], Iterator[Statement]]],
        users: dict[str, list[Using]],
        asked: tuple[Asked, ...],
    ) -> dict[str, Value]:
        """A document for each thing that is done; returns what a module takes."""
        found: dict[str, Value] = {}
        for what, make in makers.items():
            statements = merged(_all(make, users[what]))
            if not statements:
                continue
            told = " ".join((make.__doc__ or "").split())
            self.root.access.append(document(f"{label}_{what}", statements, f"{told}\n{comment(asked)}"))
            self.root.policies[f"{label}_{what}"] = statements
            found[what] = Raw(f"data.aws_iam_policy_document.{label}_{what}.json")
        return found

    def _alarms(self) -> None:
        for pipeline in self.needs.pipelines:
            alarms = alarms_of(pipeline)
            if not alarms:
                continue
            topics = self.root.variable(
                "alarm_topics", "list(string)", "ARNs of what is told of alarms, e.g. SNS topics.", []
            )
            for end in alarms:
                checked(f"{self.prefix}-{pipeline.name}-{end}", _ALARM, (pipeline.asked("monitor"),))
            inputs: dict[str, Value] = {
                "prefix": Raw(f'"${{var.prefix}}-{pipeline.name}"'),
                "namespace": NAMESPACE,
                "dimensions": {"dag_id": plain(pipeline.monitor_dag), "model": plain(pipeline.model)},
                "alarms": alarms,
                "topics": topics,
            }
            made = Made("alarms", pipeline.name, (pipeline.asked("monitor"),))
            self.root.module("alarms", identifier(f"alarms_{pipeline.name}"), inputs, made)

    def _tell(self) -> None:
        """What a person has to know before applying this."""
        root, modules = self.root, self.root.modules
        root.notes.append(
            "`airflow_roles`: the names of the roles that Airflow's workers and triggerer run as. Whoever signs otherwise "
            "is given the policies that the outputs name."
        )
        if "machines" in modules:
            root.notes.append("`batch_subnets` and `batch_security_groups` have to be given: no spec names them.")
        if "logs" in modules:
            root.notes.append(
                "The services prescribe their log groups' names. Where one is there already, from other jobs of the "
                "account, say `existing: [logs]` in the spec's platform, or import it."
            )
        if self.keys and "logs" in modules:
            root.notes.append("The policy of a key that a spec names has to let CloudWatch Logs use it.")
        if "repository" in modules:
            root.notes.append("Push the image before the first training; a tag cannot be pushed again.")
        if "bucket" in modules:
            root.teardown.append(
                "Buckets are kept: empty them, and take `prevent_destroy` out of `modules/bucket` first."
            )
        if "repository" in modules:
            root.teardown.append("A repository with images in it is kept: delete the images first.")
        if "key" in modules:
            root.teardown.append("What the key encrypted can be read for 30 days more, and then never again.")

    def _outputs(self) -> None:
        """What each pipeline's ``platform:`` says, as it stands once this root is applied."""
        told: dict[str, Value] = {}
        for pipeline in self.needs.pipelines:
            platform = pipeline.platform
            bucket, path = bucket_of(platform.bucket or "")
            own = role_of(platform.role)
            assert own is not None
            role = f"arn:{own.partition}:iam::${{var.account}}:role{own.path}${{var.{identifier(f'role_{own.name}')}}}"
            values: dict[str, Value] = {
                "region": Raw("var.region"),
                "bucket": Raw(f'"s3://${{var.{identifier(f"bucket_{bucket}")}}}{f"/{path}" if path else ""}"'),
                "role": Raw(self.roles.get(platform.role or "", f'"{role}"')),
            }
            if key := self._key(pipeline):
                values["encryption_key"] = Raw(key)
            told[pipeline.name] = values
        self.root.output("platform", told, "What the specs' platform: sections say, by pipeline.")


def _all(make: Callable[[Using], Iterator[Statement]], users: Iterable[Using]) -> Iterator[Statement]:
    for using in users:
        yield from make(using)
