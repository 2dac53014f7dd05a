"""OpenAI's API in the document of /openapi.json: the keys that the node itself uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from infernet_edge.api.endpoints.idempotency import MAX_KEY
from infernet_edge.api.openai.paths import CHAT, COMPLETIONS, EMBEDDINGS, MODELS
from infernet_edge.events.text import MEDIA_TYPE

_TEXT: Final = {"type": "string"}
_OBJECT: Final = {"type": "object"}
_LIST: Final = {"type": "array", "minItems": 1}
_MAY_BE_NULL: Final = {"type": "null"}
_MODEL: Final = {
    "type": "object",
    "description": "A model of a container",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string", "description": "The name for requests"},
        "object": {"const": "model"},
        "created": {"type": "integer", "description": "Seconds since 1970"},
        "owned_by": {"type": "string", "description": "The id of the container"},
    },
}
_ERROR: Final = {
    "type": "object",
    "description": "An error as OpenAI's API has it",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"anyOf": [_TEXT, _MAY_BE_NULL]},
                "code": {"anyOf": [_TEXT, _MAY_BE_NULL]},
            },
        }
    },
}

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "OpenAIModel": _MODEL,
    "OpenAIModelList": {
        "type": "object",
        "description": "All models that the caller may use",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/OpenAIModel"}},
        },
    },
    "OpenAIErrorResponse": _ERROR,
}
"""The components of the document."""

Operation = Callable[..., dict[str, Any]]
Parameter = Callable[..., dict[str, Any]]


def paths(operation: Operation, parameter: Parameter) -> dict[str, Any]:
    """The paths; the arguments make an operation and a parameter of it."""
    key = parameter(
        "Idempotency-Key",
        "A repeated request with this key gets the first answer again; not for streams",
        {"type": "string", "minLength": 1, "maxLength": MAX_KEY},
        "header",
    )
    name = parameter("id", "The name of the model, which may have slashes", _TEXT, "path")
    error = "OpenAIErrorResponse"

    def reading(summary: str, schema: str, *parameters: dict[str, Any]) -> dict[str, Any]:
        answer = {"$ref": f"#/components/schemas/{schema}"}
        return {"get": operation(summary, answer, parameters=[*parameters], error=error)}

    def running(summary: str, *media_types: str, **keys: dict[str, Any]) -> dict[str, Any]:
        body = {
            "type": "object",
            "required": ["model", next(iter(keys))],
            "properties": {"model": _TEXT | {"minLength": 1}, **keys},
        }
        types = ("application/json", *media_types)
        made = operation(summary, {}, body=body, parameters=[key], media_types=types, error=error)
        return {"post": made}

    stream = {"anyOf": [{"type": "boolean"}, _MAY_BE_NULL]}
    choices = {"anyOf": [{"type": "integer", "minimum": 1}, _MAY_BE_NULL]}
    text = {"anyOf": [{"type": "string"}, _LIST]}
    messages = _LIST | {
        "items": {"type": "object", "required": ["role"], "properties": {"role": _TEXT}}
    }
    return {
        MODELS: reading("Models that containers have (OpenAI)", "OpenAIModelList"),
        f"{MODELS}/{{id}}": reading("One model (OpenAI)", "OpenAIModel", name),
        CHAT: running("A chat (OpenAI)", MEDIA_TYPE, messages=messages, stream=stream, n=choices),
        COMPLETIONS: running(
            "A completion (OpenAI)", MEDIA_TYPE, prompt=text, stream=stream, n=choices
        ),
        EMBEDDINGS: running("Embeddings (OpenAI)", input=text),
    }
