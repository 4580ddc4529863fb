"""What Airflow's provider discovery reads of an installed Tidemill."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, in Airflow's provider-info schema."""
    from tidemill import __version__

    return {
        "package-name": "tidemill",
        "name": "Tidemill",
        "description": "Machine-learning pipelines from YAML specs.",
        "versions": [__version__],
        "extra-links": [
            "tidemill.airflow.links.MlflowLink",
            "tidemill.airflow.links.ReportLink",
            "tidemill.airflow.azureml_hook.AzureMlStudioLink",
        ],
        "connection-types": [_AZURE_ML],
    }


def _text(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


_AZURE_ML: dict[str, Any] = {
    "connection-type": "azure_ml",
    "hook-class-name": "tidemill.airflow.azureml_hook.AzureMlHook",
    "hook-name": "Azure Machine Learning",
    "ui-field-behaviour": {
        "hidden-fields": ["host", "port", "schema"],
        "relabeling": {"login": "Client ID", "password": "Client secret"},
        "placeholders": {
            "login": "of a service principal; empty: managed or workload identity, Azure CLI",
            "password": "the service principal's secret",
        },
    },
    "conn-fields": {
        "tenantId": _text("Tenant ID", "Of the service principal."),
        "subscriptionId": _text("Subscription ID", "The workspace's subscription."),
        "resource_group": _text("Resource group", "The workspace's resource group."),
        "workspace": _text("Workspace", "The workspace's name."),
        "managed_identity_client_id": _text("Managed identity", "The client id of a user-assigned identity."),
        "workload_identity_tenant_id": _text("Workload identity", "The tenant of a workload identity."),
        "cloud_environment": {
            "label": "Cloud",
            "description": "Which of Microsoft's clouds.",
            "schema": {
                "type": "string",
                "default": "AzurePublicCloud",
                "enum": ["AzurePublicCloud", "AzureUSGovernment", "AzureChinaCloud"],
            },
        },
        "resource_manager_endpoint": _text("Management endpoint", "Of a private or sovereign cloud."),
        "access_token": _text("Access token", "Sent as it is, for gateways that give them out.", format="password"),
    },
}
