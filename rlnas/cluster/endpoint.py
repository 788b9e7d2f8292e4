"""Where Kubeflow Pipelines answers."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlnas.errors import UserError, keep_secret


@dataclass(frozen=True)
class Endpoint:
    """Where Kubeflow Pipelines answers.

    Args:
        host: URL of its API.
        namespace: of the pods; a person's own in a multi-user installation.
        token: bearer token; never printed.
        ca_file: certificate authorities to trust instead of the system's, in PEM.
    """

    host: str
    namespace: str = "kubeflow"
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def __post_init__(self) -> None:
        keep_secret(self.token)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], host: str | None, namespace: str | None) -> "Endpoint | None":
        """`KFP_ENDPOINT`, `KFP_NAMESPACE`, `KFP_TOKEN` and `KFP_CA_FILE` where nothing else is said; None: no host.

        Raises:
            UserError: the host comes with a user, whose password would stand in every message.
        """
        host = host or environ.get("KFP_ENDPOINT", "").strip()
        if not host:
            return None
        if "@" in host:
            raise UserError(
                "the Kubeflow endpoint (--endpoint, KFP_ENDPOINT) must be a URL without a user;"
                " allowed: such as http://localhost:8888, with a bearer token in KFP_TOKEN"
            )
        host = (host if "://" in host else f"http://{host}").rstrip("/")
        namespace = namespace or environ.get("KFP_NAMESPACE") or cls.namespace
        return cls(host, namespace, environ.get("KFP_TOKEN") or None, environ.get("KFP_CA_FILE") or None)


def endpoint_or_fail(host: str | None, namespace: str | None) -> Endpoint:
    """Return where Kubeflow is.

    Raises:
        UserError: nobody said.
    """
    endpoint = Endpoint.from_environment(os.environ, host, namespace)
    if endpoint is None:
        raise UserError("no Kubeflow endpoint: give --endpoint or set KFP_ENDPOINT, such as http://localhost:8888")
    return endpoint
