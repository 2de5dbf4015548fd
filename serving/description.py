"""What the server takes and answers, as OpenAPI 3.1, made of the types by which it does so."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from serving.answers.shapes import Answered, Chat, ContextAsked, ContextMade, Opinion, Written
from serving.problems import KIND, Problem
from serving.shapes import (
    EVENTS,
    MOST_NEIGHBOURS,
    MOST_ROWS,
    ChangedDocument,
    ClearedTable,
    Document,
    GoneDocument,
    Hits,
    Kpi,
    Offered,
    Person,
    Search,
    State,
)

_REF = "#/components/schemas/{name}"
_WHOLE = {"type": "integer", "minimum": 0}


def described(name: str, keyed: bool) -> dict[str, Any]:
    """The description of a server of this name, which asks for a key or doesn't."""
    types = (
        Search,
        Hits,
        ContextAsked,
        ContextMade,
        Chat,
        Answered,
        Opinion,
        Written,
        Document,
        ChangedDocument,
        GoneDocument,
        ClearedTable,
        Person,
        Kpi,
        Offered,
        State,
        Problem,
    )
    found, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    of = dict(zip(types, found, strict=True))
    for each in ("Search", "ContextAsked", "Freshet"):
        schemas[each]["properties"]["filter"] = {"type": "object", "description": "A filter: docs/filters.md."}
    bearer = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}} if keyed else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version("freshet"), "description": "Asks what Freshet keeps fresh."},
        "paths": _paths(of),
        "components": {"schemas": schemas, **bearer},
        **({"security": [{"key": []}]} if keyed else {}),
    }


def _paths(of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    explain = _query("explain", {"type": "boolean"}, "With what made it.")
    around = _query("around", _WHOLE, "Only the chunk of this ordinal, and its neighbours.")
    neighbours = _query("neighbours", {**_WHOLE, "maximum": MOST_NEIGHBOURS}, "How many on each side; 1 if not given.")
    since = _query("since", {"type": "string", "format": "date-time"}, "Only rows from then on.")
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_ROWS}, "How many; 200 if not given.")
    moved = {
        "description": "The profile is part of another one now.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
    person = of[Person]
    return {
        "/v1/indexes/{index}/search": {
            "post": {
                **_operation("search", "The chunks nearest to a question.", of[Hits], of, _path("index")),
                "requestBody": _body(of[Search]),
            }
        },
        "/v1/context": {
            "post": {
                **_operation("context", "A prompt of what is found for a question.", of[ContextMade], of),
                "requestBody": _body(of[ContextAsked]),
            }
        },
        "/v1/indexes/{index}/documents/{id}": {
            "get": _operation(
                "document", "A document; its id may have slashes.", of[Document], of,
                _path("index"), _path("id"), around, neighbours,
            )
        },
        "/v1/feedback": {"post": _feedback(of)},
        "/v1/chat/completions": {"post": _chat(of)},
        "/v1/models": {"get": _of_openai("models", "The answering model.", {"type": "object"})},
        "/v1/changes": {"get": _changes(of)},
        "/v1/profiles/{id}": {
            "get": _with(
                _with(
                    _operation("profile", "The profile of an id.", person, of, _path("id"), explain),
                    "307", {**moved, "content": {"application/json": {"schema": person}}},
                ),
                "410", {"description": "It was erased.", "content": {KIND: {"schema": of[Problem]}}},
            )
        },
        "/v1/profiles/{type}/{value}": {
            "get": _operation(
                "profile_of", "The profile that an identifier links, or a `record`.", person, of,
                _path("type"), _path("value"), explain,
            )
        },
        "/v1/kpis/{kpi}": {
            "get": _operation("kpi", "A KPI's latest rows.", of[Kpi], of, _path("kpi"), since, limit)
        },
        "/v1/offer": {"get": _operation("offered", "What this key may ask for.", of[Offered], of)},
        "/health": {"get": _open(_operation("health", "Whether the server is alive.", of[State], of))},
        "/ready": {"get": _open(_operation("ready", "Whether its stores answer.", of[State], of))},
        "/metrics": {"get": _metrics(of)},
    }  # fmt: skip


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _operation(
    name: str, summary: str, answer: dict[str, Any], of: dict[Any, dict[str, Any]], *parameters: dict[str, Any]
) -> dict[str, Any]:
    answers = {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}}
    problem = {"description": "A problem (RFC 9457).", "content": {KIND: {"schema": of[Problem]}}}
    given = {"parameters": list(parameters)} if parameters else {}
    return {"operationId": name, "summary": summary, **given, "responses": {**answers, "default": problem}}


def _metrics(of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    text = {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return _with(_operation("metrics", "The server's figures, for Prometheus.", {}, of), "200", text)


def _feedback(of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    operation = _operation("feedback", "What somebody thinks of an answer.", of[Written], of)
    answers = {("202" if status == "200" else status): each for status, each in operation["responses"].items()}
    return {**operation, "requestBody": _body(of[Opinion]), "responses": answers}


def _chat(of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    completion = {"type": "object", "properties": {"freshet": of[Answered]}}
    operation = _of_openai("chat", "An answer to the last message: OpenAI's protocol.", completion)
    streamed = {EVENTS: {"schema": {"type": "string"}}}
    answers = {**operation["responses"], "200": {**operation["responses"]["200"]}}
    answers["200"]["content"] = {**answers["200"]["content"], **streamed}
    return {**operation, "requestBody": _body(of[Chat]), "responses": answers}


def _of_openai(name: str, summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    """An operation whose errors are OpenAI's."""
    answers = {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}}
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "object"}}}
    failed = {"description": "An error of OpenAI's.", "content": {"application/json": {"schema": error}}}
    return {"operationId": name, "summary": summary, "responses": {**answers, "default": failed}}


def _changes(of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    index = {**_query("index", {"type": "string"}, "The index whose documents are listened to."), "required": True}
    among = _query("filter", {"type": "string"}, "JSON: a filter, as docs/filters.md has them.")
    last = {**_query("Last-Event-ID", {"type": "string"}, "Where to go on: the id of an event."), "in": "header"}
    sent = {
        "description": "Server-sent events; their data is JSON.",
        "content": {EVENTS: {"schema": {"type": "string"}}},
    }
    gone = {"description": "What changed since is not known any more.", "content": {KIND: {"schema": of[Problem]}}}
    operation = _operation("changes", "Documents as they change.", {}, of, index, among, last)
    return _with(_with(operation, "200", sent), "410", gone)


def _with(operation: dict[str, Any], status: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {**operation, "responses": {**operation["responses"], status: answer}}


def _open(operation: dict[str, Any]) -> dict[str, Any]:
    return {**operation, "security": []}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, schema: dict[str, Any], said: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": said}
