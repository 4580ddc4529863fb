"""boto3 clients made of an Airflow connection, and what their errors mean to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

from tidemill.platforms.cloud import connection_id
from tidemill.platforms.ports import Connections, Fault, PlatformError
from tidemill.spec.platform import Platform

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ATTEMPTS = 5

_THROTTLED: Final = frozenset(
    {
        "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
        "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "BandwidthLimitExceeded",
        "LimitExceededException", "ProvisionedThroughputExceededException", "PriorRequestNotComplete",
    }
)  # fmt: skip
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled"})
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_UNKNOWN_KEY: Final = frozenset(
    {
        "InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
        "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException", "AuthFailure",
        "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidToken", "NotSignedUp",
        "OptInRequired",
    }
)  # fmt: skip
_INTERNAL: Final = frozenset({"InternalFailure", "InternalError", "InternalServerError", "ServiceUnavailable",
                              "InternalServiceException", "ServerException", "503", "500"})  # fmt: skip


class Aws:
    """The clients of one platform. A client is made when it is first asked for; clients may be shared by threads."""

    def __init__(self, platform: Platform, connections: Connections) -> None:
        self.platform = platform
        self.connection = connection_id(platform)
        self._connections = connections
        self._clients: dict[tuple[str, int], Any] = {}

    @cached_property
    def region(self) -> str:
        """The platform's region, else the connection's.

        Raises:
            PlatformError: neither names one.
        """
        found = self.platform.region or self._session.region_name
        if not found:
            raise PlatformError(
                f"no region: name one in the spec (platform.region) or in the connection {self.connection!r} "
                "(extra: region_name)",
                fault="user",
            )
        return str(found)

    def client(self, service: str, attempts: int = _ATTEMPTS) -> Any:
        """The boto3 client of a service, which sends a call that often at most before it gives up.

        Raises:
            PlatformError: there is no such connection, or no region.
        """
        key = (service, attempts)
        if key not in self._clients:
            from botocore.config import Config

            config = Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": attempts},
                max_pool_connections=20,
            ).merge(Config(**self._extra.get("config_kwargs", {})))
            self._clients[key] = self._session.client(
                service,
                region_name=self.region,
                endpoint_url=self._endpoint(service),
                verify=self._extra.get("verify"),
                config=config,
            )
            self._clients[key].meta.events.register("before-parse", _refuse_half)
        return self._clients[key]

    @cached_property
    def _session(self) -> Any:
        return self._connections.credentials("aws", self.connection)

    @cached_property
    def _extra(self) -> Mapping[str, Any]:
        found = self._connections.get(self.connection)
        return {} if found is None else found.extra

    def _endpoint(self, service: str) -> str | None:
        own = self._extra.get("service_config", {}).get(service, {})
        endpoint = own.get("endpoint_url", self._extra.get("endpoint_url"))
        return str(endpoint) if endpoint else None


def _refuse_half(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """botocore takes an answer that was cut short for whole (it switches urllib3's check off), and one in JSON for an
    empty one: every job would be gone."""
    body, promised = response_dict["body"], response_dict["headers"].get("content-length", "")
    # What is streamed is checked while it is read; an answer to HEAD has no body.
    if operation_model.http["method"] == "HEAD" or not isinstance(body, bytes) or not promised.isdigit():
        return
    if len(body) < int(promised):
        from botocore.exceptions import IncompleteReadError

        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=int(promised))


def console(region: str) -> str:
    """The address of the console in a region's partition, without a slash at its end."""
    if region.startswith("cn-"):
        return f"https://{region}.console.amazonaws.cn"
    if region.startswith("us-gov-"):
        return f"https://{region}.console.amazonaws-us-gov.com"
    return f"https://{region}.console.aws.amazon.com"


def partition(region: str) -> str:
    """The partition that a region lies in, as ARNs begin with it."""
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def code_of(error: BaseException) -> str:
    """The service's code of an error, e.g. ``ThrottlingException``; empty if it is none of a service's."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def words_of(error: BaseException) -> str:
    """The service's own words."""
    response = getattr(error, "response", None)
    said = response.get("Error", {}).get("Message") or response.get("message") if isinstance(response, dict) else None
    return str(said or error)


@contextmanager
def answering(aws: Aws, action: str) -> Iterator[None]:
    """Turns what boto3 raises into PlatformError. ``action`` is the IAM action that the call needs
    (``sagemaker:CreateTrainingJob``)."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except Boto3Error as e:
        # An upload's error is words only, about the service's answer that it was raised in handling.
        if isinstance(e.__context__, ClientError):
            raise _refused(aws, action, e.__context__) from None
        raise _unanswered(aws, action, e) from None
    except ClientError as e:
        raise _refused(aws, action, e) from None
    except BotoCoreError as e:
        raise _unanswered(aws, action, e) from None


def _refused(aws: Aws, action: str, error: Any) -> PlatformError:
    code, said = code_of(error), words_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    connection = repr(aws.connection)
    if code in _THROTTLED or status == 429:
        return PlatformError(f"{action}: AWS asks for fewer calls ({code})", throttled=True)
    if code in _EXPIRED:
        return PlatformError(
            f"the credentials of connection {connection} have expired; renew them ({said})", fault="user"
        )
    if code == "RequestTimeTooSkewed" or (code in _UNKNOWN_KEY and "ignature" in said and "expired" in said):
        return PlatformError(f"{action}: this machine's clock is wrong; set it by NTP ({said})", fault="user")
    if code in _UNKNOWN_KEY:
        return PlatformError(
            f"AWS does not know the credentials of connection {connection}; check its access key and secret "
            f"({code}: {said})",
            fault="user",
        )
    if code in _DENIED or status == 403:
        return PlatformError(
            f"connection {connection} may not do {action}; allow it in the IAM policy of its user or role "
            f"({said or 'access denied'})",
            fault="user",
        )
    if code in _INTERNAL or status >= 500:
        return PlatformError(f"{action}: AWS failed to answer ({code}: {said}); try again")
    return PlatformError(f"{action}: {said or code}", fault="user")


def _unanswered(aws: Aws, action: str, error: Exception) -> PlatformError:
    from botocore import exceptions

    fault: Fault = "system"
    if isinstance(
        error,
        (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.CredentialRetrievalError,
            exceptions.TokenRetrievalError,
            exceptions.UnauthorizedSSOTokenError,
            exceptions.ProfileNotFound,
        ),
    ):
        return PlatformError(
            f"connection {aws.connection!r} gives no credentials; add an access key and secret, or a role ({error})",
            fault="user",
        )
    if isinstance(error, exceptions.ParamValidationError | exceptions.InvalidRegionError):
        fault = "user"
    return PlatformError(f"{action}: {error}", fault=fault)
