"""The services of AWS that run jobs."""

from __future__ import annotations

from tidemill.platforms.ports import Connections, RemoteJobs
from tidemill.spec.platform import Platform


def open_jobs(platform: Platform, service: str, connections: Connections) -> RemoteJobs:
    """The port of ``sagemaker``, ``sagemaker-processing`` or ``batch``.

    Raises:
        ValueError: AWS has no such service here.
    """
    from tidemill.platforms.aws.clients import Aws

    aws = Aws(platform, connections)
    if service == "sagemaker":
        from tidemill.platforms.aws.sagemaker import SageMakerJobs

        return SageMakerJobs(aws)
    if service == "sagemaker-processing":
        from tidemill.platforms.aws.processing import ProcessingJobs

        return ProcessingJobs(aws)
    if service == "batch":
        from tidemill.platforms.aws.batch import BatchJobs

        return BatchJobs(aws)
    raise ValueError(f"no such service: {service!r}")
