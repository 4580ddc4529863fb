"""How calls to AWS are signed: by the Amazon provider's own hook, so every way of its connection form works (keys,
profiles, assumed roles, web identity, the machine's own role)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3


def open(connection_id: str) -> boto3.Session:
    """The session of an Airflow connection of type ``aws``, which exists: of one that does not the hook would make a
    session with whatever credentials the machine has."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    session: boto3.Session = AwsGenericHook(aws_conn_id=connection_id, client_type="sts").get_session()
    return session
