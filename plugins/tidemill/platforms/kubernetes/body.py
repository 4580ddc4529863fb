"""A job as Kubernetes' API takes it, built of the client's own models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from tidemill.platforms.packing import boot_command, folder_command
from tidemill.platforms.ports import PlatformError, RemoteJob
from tidemill.runtime.files import EXIT_USER

if TYPE_CHECKING:
    from kubernetes.client import V1Affinity, V1Container, V1Job, V1PodSpec, V1Toleration

CONTAINER: Final = "training"
_GPU: Final = "nvidia.com/gpu"
_KEPT_SECONDS: Final = 7 * 86_400
"""How long an ended job stays to be found by whoever comes back to it."""
_GRACE_SECONDS: Final = 120
"""Between SIGTERM and SIGKILL: time to store the last checkpoint."""
_MARGIN_SECONDS: Final = 600
_OVERHEAD: Final = 256 << 20
"""Bytes beside the training: Tidemill's own processes, and room for its guard to say it before the kernel kills."""
SPOT_LABELS: Final = {
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "karpenter.sh/capacity-type": "spot",
}
"""How nodes say that they are spot machines: documentation of GKE ("Spot VMs"), EKS ("Managed node group capacity
types"), AKS ("Add an Azure Spot node pool") and Karpenter ("Well-known labels"); November 2026."""
_SPOT_TAINTS: Final = ("cloud.google.com/gke-spot", "kubernetes.azure.com/scalesetpriority")
"""GKE and AKS keep other pods off these nodes by a taint of the label's name."""


def job_body(job: RemoteJob, namespace: str) -> V1Job:
    """The ``batch/v1`` Job of a job.

    A pod that exits with 10 (the user's mistake) ends the job; one that was disrupted (its spot node was taken away,
    drained, preempted) is replaced and not counted; any other failure ends the job, and the task decides about another
    attempt.

    Raises:
        PlatformError: a label that Kubernetes does not take, or no place that the pods can reach.
    """
    from kubernetes import client

    labels = dict(job.tags)
    policy = client.V1PodFailurePolicy(
        rules=[
            client.V1PodFailurePolicyRule(
                action="FailJob",
                on_exit_codes=client.V1PodFailurePolicyOnExitCodesRequirement(
                    container_name=CONTAINER, operator="In", values=[EXIT_USER]
                ),
            ),
            client.V1PodFailurePolicyRule(
                action="Ignore",
                on_pod_conditions=[
                    client.V1PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")
                ],
            ),
        ]
    )
    count = job.resources.count
    return client.V1Job(
        api_version="batch/v1",
        kind="Job",
        metadata=client.V1ObjectMeta(name=job.name, namespace=namespace, labels=labels),
        spec=client.V1JobSpec(
            backoff_limit=0,
            pod_failure_policy=policy,
            completions=count,
            parallelism=count,
            completion_mode="Indexed" if count > 1 else "NonIndexed",
            ttl_seconds_after_finished=_KEPT_SECONDS,
            template=client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=_pod(job)),
        ),
    )


def _pod(job: RemoteJob) -> V1PodSpec:
    from kubernetes import client

    volume = job.platform.volume
    selector, tolerations = _nodes(job)
    seconds = None if job.timeout is None else math.ceil(job.timeout.total_seconds()) + _MARGIN_SECONDS
    return client.V1PodSpec(
        restart_policy="Never",
        service_account_name=job.platform.service_account,
        # A training has no business with the cluster's API; cloud identities come by tokens of their own.
        automount_service_account_token=False,
        termination_grace_period_seconds=_GRACE_SECONDS,
        # Counted from when the pod has a node. The runtime keeps the exact time; this is for a node that hangs.
        active_deadline_seconds=seconds,
        node_selector=selector or None,
        tolerations=tolerations or None,
        affinity=_spot_nodes() if job.spot and not job.resources.node_selector else None,
        containers=[_container(job)],
        volumes=None
        if volume is None
        else [
            client.V1Volume(
                name="store",
                persistent_volume_claim=client.V1PersistentVolumeClaimVolumeSource(claim_name=volume.claim),
            )
        ],
    )


def _container(job: RemoteJob) -> V1Container:
    from kubernetes import client

    volume, count = job.platform.volume, job.resources.count
    environment = dict(job.environment)
    if count > 1:
        environment["TIDEMILL_WORLD_SIZE"] = str(count)
    return client.V1Container(
        name=CONTAINER,
        image=job.image,
        command=_command(job),
        env=[client.V1EnvVar(name=name, value=value) for name, value in sorted(environment.items())] or None,
        resources=_resources(job),
        # The end of the log becomes the pod's own word about its failure, which polls read.
        termination_message_policy="FallbackToLogsOnError",
        volume_mounts=None if volume is None else [client.V1VolumeMount(name="store", mount_path=volume.path)],
    )


def _command(job: RemoteJob) -> list[str]:
    places: dict[str, Any] = {
        "code": job.code,
        "data": job.data,
        "job": job.job,
        "output": job.output,
        "checkpoint": job.checkpoint,
    }
    command = folder_command if job.platform.volume is not None else boot_command
    # Kubernetes replaces $(NAME) in a command, and takes $$ for $.
    return [part.replace("$(", "$$(") for part in command(platform="kubernetes", **places)]


def _resources(job: RemoteJob) -> Any:
    from kubernetes import client

    asked = job.resources
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if asked.cpu is not None:
        requests["cpu"] = limits["cpu"] = str(asked.cpu)
    if asked.memory is not None:
        requests["memory"] = str(int(asked.memory))
        limits["memory"] = str(int(asked.memory) + _OVERHEAD)
    if asked.gpu is not None:
        limits[asked.accelerator or _GPU] = str(asked.gpu)
    return client.V1ResourceRequirements(requests=requests or None, limits=limits or None)


def _nodes(job: RemoteJob) -> tuple[dict[str, str], list[V1Toleration]]:
    """Node selector and tolerations: the spec's, of which a job that fell back to on-demand keeps what is not about
    spot machines; with ``spot`` and no selector, the clouds' own taints of spot nodes are tolerated."""
    from kubernetes import client

    asked = job.resources
    selector = dict(asked.node_selector)
    wanted = [
        client.V1Toleration(key=t.key, operator=t.operator, value=t.value, effect=t.effect) for t in asked.tolerations
    ]
    if asked.spot is not None and not job.spot:
        selector = {key: value for key, value in selector.items() if SPOT_LABELS.get(key) != value}
        wanted = [toleration for toleration in wanted if toleration.key not in SPOT_LABELS]
    if job.spot and not asked.node_selector:
        wanted += [client.V1Toleration(key=key, operator="Exists") for key in _SPOT_TAINTS]
    for key, value in selector.items():
        if not key or len(value) > 63:
            raise PlatformError(f"train.resources.node_selector: {key}={value!r} is not a label", fault="user")
    return selector, wanted


def _spot_nodes() -> V1Affinity:
    """Nodes that say, in the words of any of the clouds, that they are spot machines."""
    from kubernetes import client

    terms = [
        client.V1NodeSelectorTerm(
            match_expressions=[client.V1NodeSelectorRequirement(key=key, operator="In", values=[value])]
        )
        for key, value in SPOT_LABELS.items()
    ]
    return client.V1Affinity(
        node_affinity=client.V1NodeAffinity(
            required_during_scheduling_ignored_during_execution=client.V1NodeSelector(node_selector_terms=terms)
        )
    )
