"""The page's files as they are answered: to everyone, as nothing of what is served stands in them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from serving.problems import Refused

PATH = "/page/{name}"
"""Where the files are that `/` is made of."""

_FIRST = "index.html"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        # a form's fields would go into a URL: the page's own script alone sends what is typed
        "form-action 'none'",
        "frame-ancestors 'none'",
        # texts become nodes as texts: a script that would make HTML of one fails
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # asked for anew each time, and sent only where it is another one
    "Cache-Control": "no-cache",
}
"""What every file of the page is answered with. Content Security Policy Level 3; Trusted Types (W3C)."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file, and what names its bytes."""

    body: bytes
    kind: str
    tag: str


class Page:
    """The page of every server of this release."""

    def __init__(self) -> None:
        """Read all of it: some 50 kB."""
        self._files = _read()

    async def first(self, request: Request) -> Response:
        """What is answered at `/`."""
        return self._answer(request, _FIRST)

    async def file(self, request: Request) -> Response:
        """What it is made of. Raises Refused where there is no such file."""
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        if (found := self._files.get(name)) is None:
            raise Refused(404, f"the page has no file {name!r}", "name")
        headers = {**HEADERS, "ETag": found.tag}
        if found.tag in request.headers.get("If-None-Match", ""):
            return Response(status_code=304, headers=headers)
        return Response(found.body, headers={**headers, "Content-Type": found.kind})


def _read() -> Mapping[str, _File]:
    found = {}
    for each in files(__package__).joinpath("assets").iterdir():
        ending = each.name[each.name.rfind(".") :]
        if ending in _KINDS:
            body = each.read_bytes()
            tag = urlsafe_b64encode(sha256(body).digest()[:12]).decode()
            found[each.name] = _File(body, _KINDS[ending], f'"{tag}"')
    return found
