"""Requests to OpenSearch that are repeated while the cluster is away or busy, and what its errors mean."""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3
from opensearchpy import OpenSearch as Client
from opensearchpy import Urllib3AWSV4SignerAuth
from opensearchpy.exceptions import ConnectionError as ConnectionFailed
from opensearchpy.exceptions import ConnectionTimeout, OpenSearchException, SSLError, TransportError

from connectors.opensearch import bodies
from connectors.opensearch.login import BasicLogin
from connectors.patience import ONCE_MORE, Answer, Stop, for_seconds, patiently
from core.config.store import OpenSearch
from core.errors import ConfigError, StoreGone, Unavailable, brief, not_installed
from core.stores.batches import halving, sized

_BUSY = (429, 502, 503, 504)
_ANSWERS = (404, 409, 413)  # what an operation may be answered that is no fault of the index
_UNKNOWN_USER = 401
_UNUSABLE = ("illegal_argument_exception", "index_closed_exception")
_BYTES_A_REQUEST = 8 * 2**20  # Amazon's smaller nodes take 10 MiB
_LEAST_BYTES_A_REQUEST = 2**16
_READ_SECONDS = 30.0
_CONNECT_SECONDS = 5.0

# It warns of every request that fails; those are repeated, or raised.
logging.getLogger("opensearch").setLevel(logging.ERROR)


class _Busy(Exception):
    """A part of a request was refused for now."""


class _TooLarge(Exception):
    """A request has more bytes than the cluster takes."""


class _Unusable(Exception):
    """An index takes or gives nothing, whatever it is."""

    def __init__(self, index: str, why: str) -> None:
        super().__init__(why)
        self.index = index


class Cluster:
    """The cluster that `target` names. Connects when first asked; `setting` is the pipeline file's key in messages.

    `patience_s`: how long to repeat what the cluster doesn't answer, or answers with 429, 502, 503 or 504, further and
    further apart. Where a part of a request was answered, the rest alone is repeated, and the time starts anew.
    `samples`: operations, by index, that it takes if it takes any: they tell whose fault it is that others are refused.
    """

    def __init__(
        self, target: OpenSearch, setting: str, patience_s: float, samples: Mapping[str, Sequence[bytes]]
    ) -> None:
        """Connects to nothing. Raises ConfigError where there are no AWS credentials, or a file of certificates."""
        self._samples = samples
        self._setting = setting
        self._patience_s = patience_s
        self.server = ",".join(_address(host) for host in target.hosts)
        self._login = None if target.user is None else BasicLogin(target, setting)
        self.client = _client(target, setting, self._login)

    def once(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns; a second attempt, in case the server was restarted since the last.

        Raises Unavailable where the cluster doesn't answer, ConfigError where it refuses.
        """
        return self._repeat(call, ONCE_MORE)

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """As `once`, with attempts for the cluster's patience. `call` must bear repeating."""
        return self._repeat(call, for_seconds(self._patience_s))

    def bulk(self, index: str, operations: Sequence[bytes]) -> list[dict[str, Any]]:
        """The answer to each operation on an index: its `status`, and `result`, `get` or `error`.

        An operation is one or two lines of JSON. Requests have 8 MiB at most, or one operation; less where so many are
        too much for the cluster at once. An index that is gone stays gone: raises ConfigError.
        """
        answers: list[dict[str, Any] | None] = [None] * len(operations)
        progress, most = time.monotonic(), _BYTES_A_REQUEST

        def send_the_rest() -> None:
            nonlocal progress, most
            reason = ""
            left = [at for at, answer in enumerate(answers) if answer is None]
            for group in sized(left, lambda at: len(operations[at]), most):
                try:
                    found = self._bulk(index, [operations[at] for at in group])
                except TransportError as error:
                    if isinstance(error, ConnectionTimeout) or error.status_code == 429:
                        most = max(most // 2, _LEAST_BYTES_A_REQUEST)
                    raise
                for at, answer in zip(group, found, strict=True):
                    if answer["status"] in _BUSY or (answer["status"] == 409 and "update" in answer):
                        reason = item_reason(answer)
                    else:
                        answers[at] = answer
                        progress = time.monotonic()
            if reason:
                raise _Busy(reason)

        self._repeat(send_the_rest, lambda _: time.monotonic() - progress > self._patience_s)
        return [answer for answer in answers if answer is not None]

    def _bulk(self, index: str, operations: Sequence[bytes]) -> list[dict[str, Any]]:
        too_large = {"status": 413, "error": {"type": "too large", "reason": "more bytes than the cluster takes"}}
        answers = halving(operations, lambda some: self._post(index, some), lambda *_: dict(too_large), (_TooLarge,))
        if any(map(_is_refused, answers)):
            for answer in self._post(index, self._samples[index]):
                if _is_refused(answer):
                    raise _Unusable(index, item_reason(answer))
        return answers

    def _post(self, index: str, operations: Sequence[bytes]) -> list[dict[str, Any]]:
        wanted = "items.*.status,items.*.error.type,items.*.error.reason,items.*.result,items.*.get"
        try:
            body = b"".join((bodies.guard(index), *operations))
            found = self.client.bulk(body=body, params={"filter_path": wanted})
        except TransportError as error:
            if error.status_code == 413:
                raise _TooLarge from error
            raise
        answers = [{kind: True, **answer} for item in found["items"][1:] for kind, answer in item.items()]
        for answer in answers:
            kind = answer.get("error", {}).get("type", "")
            if kind == "index_not_found_exception":
                raise StoreGone([self._gone(index, item_reason(answer))])
            if answer["status"] in (401, 403):
                raise ConfigError([self._refuses(item_reason(answer))])
            if answer.get("result") == "noop" and "get" not in answer:
                raise _Unusable(index, "a pipeline of the index drops what is written")
        return answers

    def get(self, wanted: Sequence[Mapping[str, Any]], at_once: int = 500) -> list[dict[str, Any]]:
        """Each document as it is now, searchable or not: `found`, and `_source` where there is one."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(wanted), at_once):
            found += self.patiently(lambda start=start: self._get(wanted[start : start + at_once]))  # type: ignore[misc]
        return found

    def _get(self, wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.mget(body={"docs": wanted})["docs"]
        for each in found:
            kind = each.get("error", {}).get("type", "")
            if kind == "index_not_found_exception":
                raise StoreGone([self._gone(each["_index"], item_reason(each))])
            if kind == "security_exception":
                raise ConfigError([self._refuses(item_reason(each))])
            if kind in _UNUSABLE:
                raise _Unusable(each["_index"], item_reason(each))
            if kind:
                raise _Busy(item_reason(each))
        return found

    def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a search of all shards; not repeated by itself."""
        parameters = {"allow_partial_search_results": "false"}
        found: dict[str, Any] = self.client.search(index=index, body=body, params=parameters)
        return found

    def _repeat(self, call: Callable[[], Answer], stop: Stop) -> Answer:
        try:
            return patiently(lambda: self._let_in(call), stop, self._may_pass, of=self._setting.rpartition(".")[2])
        except _Unusable as error:
            raise Unavailable(
                f"{self._setting}.index: {error.index} at {self.server} can't be used, whatever is written or read "
                f"({error}): put its settings, pipelines and aliases right"
            ) from error
        except (OpenSearchException, _Busy) as error:
            if _is_servers(error):
                raise Unavailable(
                    f"{self._setting}.hosts: OpenSearch at {self.server} doesn't answer ({reason(error)}): "
                    "start it, or correct the address"
                ) from error
            raise ConfigError([self._refuses(reason(error))]) from error

    def _let_in(self, call: Callable[[], Answer]) -> Answer:
        """As `call`; a second attempt where the cluster refuses the login, and it is another one by now."""
        login = self._login
        if login is None:
            return call()
        shown = login()
        try:
            return call()
        except TransportError as error:
            if error.status_code != _UNKNOWN_USER or not login.differs(shown):
                raise
        return call()

    def _may_pass(self, error: BaseException) -> bool:
        # while a secret is rotated, the cluster may know the password that is to come
        refused = isinstance(error, TransportError) and error.status_code == _UNKNOWN_USER
        return _is_servers(error) or (refused and self._login is not None and self._login.changes)

    def _gone(self, index: str, why: str) -> str:
        return (
            f"{self._setting}.index: OpenSearch at {self.server} has no {index} ({why}): where it was deleted, delete "
            "the other of index and ledger too, and `freshet run pipeline.yaml --rebuild` makes both; or correct the "
            "name"
        )

    def _refuses(self, why: str) -> str:
        return (
            f"{self._setting}: OpenSearch at {self.server} refuses ({why}): "
            "correct index, user and password, ca_certs or aws, or have the user granted what is missing"
        )


def reason(error: Exception) -> str:
    """The message of an error, without addresses of objects; 300 characters at most."""
    info = getattr(error, "info", None)
    if isinstance(info, dict) and isinstance(info.get("error"), dict):
        causes = info["error"].get("root_cause") or [info["error"]]
        text = f"{causes[0].get('type')}: {causes[0].get('reason')}"
    elif isinstance(error, TransportError):
        text = f"{error.status_code} {info if isinstance(error, ConnectionFailed) else error.error}"
    else:
        text = str(error)
    return brief(re.sub(r"<[^<>]* at 0x[0-9a-f]+>:? ?", "", " ".join(text.split())))


def item_reason(answer: Mapping[str, Any]) -> str:
    """Why one of many operations failed; 300 characters at most."""
    error = answer.get("error", {})
    return brief(f"{error.get('type')}: {error.get('reason')}")


def _is_servers(error: BaseException) -> bool:
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error.info):
        return False
    if isinstance(error, ConnectionFailed | _Busy | _Unusable):
        return True
    return isinstance(error, TransportError) and error.status_code in _BUSY


def _is_refused(answer: Mapping[str, Any]) -> bool:
    return "error" in answer and answer["status"] not in (*_ANSWERS, *_BUSY)


def _address(host: str) -> str:
    parts = urlsplit(host)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 9200)}"


def _client(target: OpenSearch, setting: str, login: BasicLogin | None) -> Client:
    auth: Any = login
    if target.aws is not None:
        auth = Urllib3AWSV4SignerAuth(_aws_credentials(setting), target.aws.region, target.aws.service)
    secure: dict[str, Any] = {"verify_certs": target.verify_certs, "ssl_show_warn": False}
    if target.ca_certs is not None:
        _check_certificates(target.ca_certs, setting)
        secure["ca_certs"] = target.ca_certs
    return Client(
        hosts=list(target.hosts),
        http_auth=auth,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        max_retries=0,
        retry_on_status=(),
        # given TLS settings where there is no TLS, it warns
        **(secure if any(host.startswith("https:") for host in target.hosts) else {}),
    )


def _check_certificates(file: str, setting: str) -> None:
    # the client would find out at every request, and take it for a network in trouble
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError([f"{setting}.ca_certs is {file!r}, which can't be read as certificates: {why}"]) from error


def _aws_credentials(setting: str) -> Any:
    try:
        import boto3
    except ImportError:
        raise not_installed(f"{setting}.aws", "boto3", "aws") from None
    credentials = boto3.Session().get_credentials()
    if credentials is None:
        raise ConfigError([f"{setting}.aws: no AWS credentials in the environment, a profile or a role: set them"])
    return credentials
