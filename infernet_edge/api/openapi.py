"""The OpenAPI 3.1 document, generated from the data types that the API itself uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

import msgspec

from infernet_edge import INFERNET_VERSION, __version__, schema
from infernet_edge.api import openapi_overview
from infernet_edge.api.endpoints.events import MAX_PERIOD_SECONDS
from infernet_edge.api.endpoints.idempotency import MAX_KEY
from infernet_edge.api.endpoints.waiting import MAX_WAIT_SECONDS
from infernet_edge.api.openai import description
from infernet_edge.api.openapi_delegated import delegated_request
from infernet_edge.containers.operating import forms
from infernet_edge.containers.operating.logs import MAX_TAIL
from infernet_edge.events.bus import EVENT_TYPES
from infernet_edge.events.text import MEDIA_TYPE
from infernet_edge.jobs.reading.history import MAX_PAGE, STATES
from infernet_edge.jobs.store import MAX_LISTED

_TYPES = (
    schema.HealthInfo,
    schema.NodeInfo,
    schema.ServiceResources,
    schema.ModelSupport,
    schema.JobRequest,
    schema.JobResponse,
    schema.DelegatedSubscriptionResponse,
    schema.JobResult,
    schema.JobHistory,
    schema.ContainerOutput,
    schema.ContainerError,
    schema.StatusReport,
    schema.TokenRequest,
    schema.TokenList,
    schema.NewToken,
    schema.RevokedToken,
    schema.CallerInfo,
    forms.ContainerList,
    forms.ContainerAction,
    schema.ReloadReport,
    schema.ErrorResponse,
    *openapi_overview.TYPES,
)
_NO_INPUTS: Final[Mapping[str, dict[str, Any]]] = {}
_VALUES: Final = ("const", "default", "enum", "examples")  # keywords that hold values
_BY_NAME: Final = (  # and those that hold schemas by names, which may be those of keywords
    *("$defs", "definitions", "dependencies", "dependentSchemas"),
    *("patternProperties", "properties"),
)
_ANY_OBJECT = {"type": "object", "additionalProperties": True}


def document(inputs: Mapping[str, dict[str, Any]] = _NO_INPUTS) -> dict[str, Any]:
    """The whole document, ready to be encoded.

    `inputs`: the JSON Schemas of what containers take, by container.
    """
    _, components = msgspec.json.schema_components(
        _TYPES, schema_hook=_raw, ref_template="#/components/schemas/{name}"
    )
    _fill_in(components)
    _add_inputs(components, inputs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Infernet node",
            "summary": "The REST API of an Infernet node, as infernet-edge serves it",
            "version": f"{INFERNET_VERSION}+edge.{__version__}",
        },
        "paths": _paths(),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed when the node has any token, made by `infernet-edge"
                    " token new` or in server.tokens. Its scope says what it permits: read,"
                    " submit (includes read), metrics, or operator (includes all)",
                }
            },
        },
        "security": [{}, {"token": []}],
    }


def _raw(kind: type) -> dict[str, Any]:
    if kind is msgspec.Raw:
        return {}  # any JSON value
    raise NotImplementedError(f"no schema for {kind}")


def _fill_in(components: dict[str, Any]) -> None:
    """Add the schemas of Raw fields, which the types do not have."""
    result = {"anyOf": [_ref("ContainerOutput"), _ref("ContainerError"), {"type": "null"}]}
    components["JobRequest"]["properties"]["data"] |= _ANY_OBJECT
    components["JobResult"]["properties"]["result"] = result
    components["JobResult"]["properties"]["intermediate_results"] = {
        "type": "array",
        "items": {"anyOf": result["anyOf"][:2]},
    }
    components["StatusReport"]["properties"]["status"]["enum"] = list(get_args(schema.JobStatus))
    components["DelegatedSubscriptionRequest"] = delegated_request()
    components.update(description.SCHEMAS)
    # The type accepts an empty list, which a guard rule then refuses.
    components["JobRequest"]["properties"]["containers"]["minItems"] = 1


def _add_inputs(components: dict[str, Any], inputs: Mapping[str, dict[str, Any]]) -> None:
    """Add the schemas of the containers, and that the data of jobs has to fit them."""
    rules = []
    for container, given in inputs.items():
        name = f"Input.{container}"
        # References into the schema itself begin at its root, which has another place here.
        components[name] = _moved(given, _ref(name)["$ref"])
        first = {"properties": {"containers": {"prefixItems": [{"const": container}]}}}
        rules.append({"if": first, "then": {"properties": {"data": _ref(name)}}})
    if rules:
        components["JobRequest"]["allOf"] = rules


def _moved(value: Any, root: str) -> Any:
    """A schema whose references lead to `root` instead of its own root."""
    if isinstance(value, list):
        return [_moved(item, root) for item in value]
    if not isinstance(value, dict) or "$id" in value:  # whose references begin at itself
        return value
    moved: dict[str, Any] = {}
    for name, each in value.items():
        if name in _BY_NAME and isinstance(each, dict):
            moved[name] = {key: _moved(schema, root) for key, schema in each.items()}
        else:
            moved[name] = each if name in _VALUES else _moved(each, root)
    reference = value.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        moved["$ref"] = root + reference.removeprefix("#")
    return moved


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _any_of(*names: str) -> dict[str, Any]:
    return {"anyOf": [_ref(name) for name in names]}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _operation(
    summary: str,
    answer: dict[str, Any],
    *,
    body: dict[str, Any] | None = None,
    parameters: list[dict[str, Any]] | None = None,
    media_types: tuple[str, ...] = ("application/json",),
    status: int = 200,
    error: str = "ErrorResponse",
) -> dict[str, Any]:
    """One operation; `error` is the schema of its errors."""
    content = {"application/json": {"schema": _ref(error)}}
    failure = {"description": "Refused, malformed or not possible now", "content": content}
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            str(status): {
                "description": "Success",
                "content": {media_type: {"schema": answer} for media_type in media_types},
            },
            "401": {"description": "No valid token: params.reason says why", "content": content},
            "403": {
                "description": "Not allowed: params.scope is what is needed",
                "content": content,
            },
            "4XX": failure,
            "5XX": failure,
        },
    }
    if body is not None:
        expected = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": expected}
    if parameters:
        operation["parameters"] = parameters
    return operation


def _parameter(name: str, text: str, kind: dict[str, Any], where: str = "query") -> dict[str, Any]:
    found = {"name": name, "in": where, "description": text, "schema": kind}
    return found | {"required": True} if where == "path" else found


def _event_parameters() -> list[dict[str, Any]]:
    text = {"type": "string"}
    types = {"type": "string", "enum": [kind.name for kind in EVENT_TYPES]}
    period = {"type": "number", "minimum": 0, "maximum": MAX_PERIOD_SECONDS}
    resumed = "The id of the last event that was read"
    return [
        _parameter("types", "Types of events, also as one list with commas", _list_of(types)),
        _parameter("every", "Seconds in which changes of a type are one event", period),
        _parameter("Last-Event-ID", resumed, text, "header"),
        _parameter("last_event_id", resumed, text),
    ]


def _paths() -> dict[str, Any]:
    resources = {
        "type": "object",
        "additionalProperties": _any_of("ServiceResources", "ModelSupport"),
    }
    model_id = _parameter("model_id", "Ask whether containers support a model", {"type": "string"})
    requests = _any_of("JobRequest", "DelegatedSubscriptionRequest")
    # A JobResult only when the request waits.
    responses = _any_of("JobResponse", "JobResult", "DelegatedSubscriptionResponse")
    outcomes = _any_of("JobResponse", "DelegatedSubscriptionResponse", "ErrorResponse")
    text = {"type": "string"}
    boolean = {"type": "boolean"}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LISTED}
    wait = _parameter(
        "wait",
        "Seconds to wait until all these jobs have ended",
        {"type": "integer", "minimum": 0, "maximum": MAX_WAIT_SECONDS},
    )
    prefer = _parameter("Prefer", "wait=SECONDS, as the parameter (RFC 7240)", text, "header")
    key = _parameter(
        "Idempotency-Key",
        "A repeated request with this key gets the first answer again, for 24 hours",
        {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        "header",
    )
    identifier = _parameter("id", "The id of the job", text, "path")
    container = _parameter("id", "The id of the container", text, "path")
    tail = _parameter(
        "tail", "How many of the last lines", {"type": "integer", "minimum": 0, "maximum": MAX_TAIL}
    )
    follow = _parameter("follow", "Send the lines that come, too", boolean)
    job_parameters = [
        _parameter("id", "Ids of jobs whose results to return", _list_of(text)),
        _parameter("intermediate", "With id: all containers' results", boolean),
        _parameter("pending", "Without id: unfinished (true) or finished (false)", boolean),
        _parameter("limit", "Without id: maximum number of ids, the newest", limit),
        _parameter("before", "Without id: only jobs older than this one", text),
        wait,
        prefer,
    ]
    history_parameters = [
        _parameter("limit", "Maximum number of jobs", limit | {"maximum": MAX_PAGE}),
        _parameter("before", "Only jobs before this cursor", text),
        _parameter("state", "Only jobs in this state", {"type": "string", "enum": list(STATES)}),
        _parameter("container", "Only jobs with this container", text),
        _parameter("client", "Only jobs of this client", text),
        _parameter("find", "Only jobs whose id begins with this", text),
    ]
    one_job_parameters = [
        identifier,
        job_parameters[1],
        _parameter("detail", "Add times, attempts, and where the job is now", boolean),
        wait,
        prefer,
    ]
    results = _list_of(_ref("JobResult"))
    listing = {"anyOf": [results, _list_of(text)]}
    stream = {"type": "string", "description": "The job's id and a newline, then the output"}
    return {
        "/health": {"get": _operation("Health of the node", _ref("HealthInfo"))},
        "/info": {"get": _operation("What the node is and does", _ref("NodeInfo"))},
        "/resources": {"get": _operation("Hardware and models", resources, parameters=[model_id])},
        "/metrics": {
            "get": _operation(
                "Metrics for Prometheus (this machine, or a token with the scope metrics)",
                text,
                media_types=("text/plain", "application/openmetrics-text"),
            )
        },
        "/api/jobs": {
            "get": _operation("Results, or ids of jobs", listing, parameters=job_parameters),
            "post": _operation(
                "Create a job", responses, body=requests, parameters=[wait, prefer, key]
            ),
            "delete": _operation("Cancel jobs", results, parameters=job_parameters[:2]),
        },
        "/api/events": {
            "get": _operation(
                "What happens in the node, as it happens",
                {"type": "string", "description": "Events as the HTML standard defines them"},
                parameters=_event_parameters(),
                media_types=(MEDIA_TYPE,),
            ),
        },
        "/api/history": {
            "get": _operation(
                "Jobs with filters, newest first", _ref("JobHistory"), parameters=history_parameters
            ),
        },
        "/api/jobs/{id}": {
            "get": _operation("One job", _ref("JobResult"), parameters=one_job_parameters),
            "delete": _operation("Cancel a job", results, parameters=one_job_parameters[:3]),
        },
        "/api/jobs/batch": {
            "post": _operation(
                "Create jobs", _list_of(outcomes), body=_list_of(requests), parameters=[key]
            )
        },
        "/api/jobs/stream": {
            "post": _operation(
                "Create a job and stream its output",
                stream,
                body=_ref("JobRequest"),
                media_types=("*/*",),  # as sent by the container
            )
        },
        "/api/tokens": {
            "get": _operation("All tokens (operator)", _ref("TokenList")),
            "post": _operation(
                "Make a token (operator)", _ref("NewToken"), body=_ref("TokenRequest")
            ),
        },
        "/api/tokens/{name}": {
            "delete": _operation(
                "Revoke a token (operator)",
                _ref("RevokedToken"),
                parameters=[
                    _parameter("name", "The name of the token", text, "path"),
                    _parameter("open", "Revoke also the last token, which opens the node", boolean),
                ],
            )
        },
        "/api/me": {"get": _operation("Who calls, and what that permits", _ref("CallerInfo"))},
        **openapi_overview.paths(_operation, _parameter),
        **description.paths(_operation, _parameter),
        "/api/containers": {
            "get": _operation("State, load and use of all containers", _ref("ContainerList"))
        },
        "/api/containers/{id}/restart": {
            "post": _operation(
                "Restart a container; its jobs are started again",
                _ref("ContainerAction"),
                parameters=[container],
                status=202,
            )
        },
        "/api/containers/{id}/logs": {
            "get": _operation(
                "The log of a container: lines of JSON",
                {"type": "string"},
                parameters=[container, tail, follow],
                media_types=("application/x-ndjson",),
            )
        },
        "/api/containers/{id}/pull": {
            "post": _operation(
                "Pull the image of a container, which runs on",
                _ref("ContainerAction"),
                parameters=[container],
                status=202,
            )
        },
        "/api/reload": {"post": _operation("Read the configuration again", _ref("ReloadReport"))},
        "/api/status": {
            "put": _operation(
                "Report a job that runs elsewhere (this machine and its containers only)",
                {"type": "null"},
                body=_ref("StatusReport"),
            )
        },
    }
