"""Errors of object stores in our words: a line that names the path, and says what to do."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from msckpt_jax.errors import CheckpointError, StoreError


class _Kind(NamedTuple):
    """A kind of error: the classes and codes by which drivers tell it, and the words for it."""

    told_by: frozenset[str]
    problem: str


def _kind(names: str, problem: str) -> _Kind:
    return _Kind(frozenset(names.split()), problem)


#: The first kind counts that a class of the error, or its code, belongs to.
_KINDS = (
    _kind(
        "NoSuchBucket NoSuchBucketError ContainerNotFound",
        "there is no such bucket: create it, or correct its name",
    ),
    _kind(
        "NoCredentialsError PartialCredentialsError CredentialRetrievalError NoRegionError "
        "DefaultCredentialsError CredentialUnavailableError",
        "there are no credentials for the store: set them as its own tools do (for s3:// "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials)",
    ),
    _kind(
        "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired "
        "InvalidClientTokenId AuthFailure 401 Unauthorized UnauthenticatedError "
        "ClientAuthenticationError UnauthorizedSSOTokenError SSOTokenLoadError RefreshError",
        "the store does not take these credentials: they are wrong, or have expired",
    ),
    _kind(
        "AccessDenied AllAccessDisabled 403 Forbidden PermissionError PermissionDeniedError",
        "the store refuses it: these credentials may not do that there (reading needs to get and "
        "list objects; saving also to put and delete them, and to abort uploads)",
    ),
    _kind(
        "EndpointConnectionError ConnectTimeoutError ReadTimeoutError ConnectionClosedError "
        "ConnectionError ClientConnectorError TimeoutError SSLError ProxyConnectionError "
        "HTTPClientError ServiceRequestError gaierror",
        "the store cannot be reached: check the network, and the address of the endpoint (for "
        "s3:// AWS_ENDPOINT_URL)",
    ),
)
#: Errors that mean the same of local files, or are told already.
_PASSED = (CheckpointError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NotFoundError"})


@contextlib.contextmanager
def told(path: Any) -> Iterator[None]:
    """Give errors of a store within, whatever its driver raises, as those of this library.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: anything else that the store, or the way to it, is the reason of.
    """
    try:
        yield
    except _PASSED:
        raise
    except OSError as error:
        raise _ours(error, path) from None
    except Exception as error:
        if not _of_driver(error):
            raise
        raise _ours(error, path) from None


_Driver = TypeVar("_Driver", bound=type)


def telling(driver: _Driver) -> _Driver:
    """Let all methods of a class tell their errors so; its ``path_of`` says of which path.

    ``path_of`` gets the arguments of the method.
    """
    for name, method in [*vars(driver).items()]:
        if inspect.isfunction(method) and not name.startswith("_") and name != "path_of":
            setattr(driver, name, _telling(method))
    return driver


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def generate(self: Any, *args: Any) -> Iterator[Any]:
        with told(self.path_of(*args)):
            yield from method(self, *args)

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Any:
        with told(self.path_of(*args)):
            return method(self, *args)

    return generate if inspect.isgeneratorfunction(method) else call


def _ours(error: Exception, path: Any) -> OSError:
    signs = _signs(error)
    kind = next((kind for kind in _KINDS if signs & kind.told_by), None)
    if kind is None and signs & _MISSING:
        return FileNotFoundError(2, "there is no such object", str(path))
    said = str(error).strip().partition("\n")[0]
    problem = kind.problem if kind else f"the store fails: {type(error).__name__}: {said}"
    return StoreError(problem, file=path)


def _signs(error: BaseException) -> set[str]:
    """The names of an error's classes and its code, and those of the error that it stands for."""
    signs = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        signs.add(str(response.get("Error", {}).get("Code")))
    codes = (getattr(error, name, "") for name in ("code", "status_code", "status", "error_code"))
    signs |= {str(getattr(code, "value", code)) for code in codes}  # Azure's are of an Enum
    signs.add(str(error).partition(":")[0])  # gcsfs says "Forbidden: ..."
    return signs if error.__cause__ is None else signs | _signs(error.__cause__)


#: The packages of drivers, whose errors are of the store.
_DRIVERS = {"botocore", "boto3", "s3transfer", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google",
            "adlfs", "azure", "fsspec", "urllib3", "requests", "obstore"}  # fmt: skip


def _of_driver(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in _DRIVERS for kind in type(error).__mro__)
