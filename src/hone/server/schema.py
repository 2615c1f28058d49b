"""The application's own OpenAPI description: what each route takes and gives, with the bounds that are enforced."""

from __future__ import annotations

from typing import Any

from hone.server.fields import MOST_TEXTS
from hone.server.guard import OPEN
from hone.server.sampling import MOST_ANSWERS, MOST_BIASES, MOST_LETTERS, MOST_STOPS

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
FULL: Schema = {"type": "string", "minLength": 1}
ANY: Schema = {"description": "A label of the caller's own; it changes no answer."}
NULL: Schema = {"type": "null"}
MANY = 2**31


def maybe(one: Schema) -> Schema:
    """Null is as if it were not there."""
    return {"anyOf": [one, NULL]}


def number(least: float, most: float) -> Schema:
    """A number or null."""
    return maybe({"type": "number", "minimum": least, "maximum": most})


def whole(least: int, most: int) -> Schema:
    """A whole number or null."""
    return maybe({"type": "integer", "minimum": least, "maximum": most})


def several(items: Schema, most: int, least: int = 0) -> Schema:
    """A list."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def record(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object that may hold more."""
    return {"type": "object", "properties": properties, "required": list(required)}


def closed(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """An object that holds nothing else, or only null for it."""
    return record(required, **properties) | {"additionalProperties": NULL}


FLAG = maybe({"type": "boolean"})
PART = {"anyOf": [record(("type", name), **{"type": {"const": name}, name: TEXT}) for name in ("text", "refusal")]}
PICTURE = record(("url",), url=TEXT, detail={"enum": [None, "auto", "high"]})
PART["anyOf"].append(record(("type", "image_url"), type={"const": "image_url"}, image_url=PICTURE))
CONTENT: Schema = {"anyOf": [TEXT, {"type": "array", "items": PART}]}
FUNCTION = record(
    ("name",),
    name={"type": "string", "minLength": 1, "maxLength": 128},
    description=maybe(TEXT),
    parameters=maybe({"type": "object"}),
)
CALL = record(("function",), id={}, function=record(("name",), name=TEXT, arguments=maybe(TEXT)))
MESSAGE: Schema = {
    "anyOf": [
        record(("role", "content"), role={"enum": ["system", "developer", "user", "tool"]}, content=CONTENT),
        record(
            ("role",),
            role={"const": "assistant"},
            content=maybe(CONTENT),
            reasoning_content=maybe(TEXT),
            tool_calls=maybe({"type": "array", "items": CALL}),
        ),
    ]
}
FORMAT: Schema = {
    "anyOf": [
        NULL,
        {"const": {"type": "text"}},
        record(("type",), type={"const": "json_object"}),
        record(
            ("type", "json_schema"),
            type={"const": "json_schema"},
            json_schema=record(("schema",), schema={"type": "object"}),
        ),
    ]
}
CHOICE: Schema = {
    "anyOf": [
        {"enum": [None, "none", "auto", "required"]},
        record(("type", "function"), type={"const": "function"}, function=record(("name",), name=TEXT)),
    ]
}


def _common(vocabulary: int) -> dict[str, Schema]:
    """What chat and plain completions take alike."""
    token = {"type": "integer", "minimum": 0, "maximum": vocabulary - 1}
    word = {"type": "string", "minLength": 1, "maxLength": MOST_LETTERS}
    bias = {"type": "number", "minimum": -100, "maximum": 100}
    return {
        "model": maybe({"type": "string", "maxLength": 256}),
        "stream": FLAG,
        "stream_options": maybe(closed(include_usage=FLAG) | {"additionalProperties": False}),
        "temperature": number(0, 2),
        "top_p": number(1e-9, 1),
        "top_k": whole(-1, MANY),
        "min_p": number(0, 1),
        "repetition_penalty": number(1e-3, 100),
        "presence_penalty": number(-2, 2),
        "frequency_penalty": number(-2, 2),
        "seed": whole(-(2**63), 2**63 - 1),
        "stop": {"anyOf": [word, several(word, MOST_STOPS), NULL]},
        "stop_token_ids": maybe(several(token, MOST_STOPS)),
        "logit_bias": maybe(
            {"type": "object", "propertyNames": {"pattern": "^[0-9]{1,9}$"}, "additionalProperties": bias}
            | {"maxProperties": MOST_BIASES}
        ),
        "n": whole(1, MOST_ANSWERS),
        "do_sample": FLAG,
        "skip_special_tokens": FLAG,
        "user": ANY,
        "metadata": ANY,
        "safety_identifier": ANY,
        "prompt_cache_key": ANY,
    }


def _chat(vocabulary: int) -> Schema:
    return closed(
        ("messages",),
        **_common(vocabulary),
        messages={"type": "array", "items": MESSAGE, "minItems": 1},
        max_tokens=whole(1, MANY),
        max_completion_tokens=whole(1, MANY),
        tools=maybe(several(record(("type", "function"), type={"const": "function"}, function=FUNCTION), 128)),
        tool_choice=CHOICE,
        parallel_tool_calls=FLAG,
        logprobs=FLAG,
        top_logprobs=whole(0, 20),
        response_format=FORMAT,
        modalities={"enum": [None, ["text"]]},
        store={"enum": [None, False]},
        service_tier={"enum": [None, "auto", "default"]},
        functions={"enum": [None, []]},
        verbosity={"enum": [None, "medium"]},
    )


def bodies(vocabulary: int) -> dict[str, Schema]:
    """What the routes with a body take, by path."""
    ids = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": vocabulary - 1}, "minItems": 1}
    prompt: Schema = {"anyOf": [FULL, several(FULL, 1, 1), ids]}
    model = maybe({"type": "string", "maxLength": 256})
    chat = _chat(vocabulary)
    name: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9_.:/\-]{0,127}$"}
    return {
        "/v1/chat/completions": chat,
        "/v1/completions": closed(
            ("prompt",),
            **_common(vocabulary),
            prompt=prompt,
            max_tokens=whole(0, MANY),
            echo=FLAG,
            logprobs=whole(0, 20),
            best_of={"enum": [None, 1]},
            suffix={"enum": [None, ""]},
        ),
        "/v1/embeddings": closed(
            ("input",),
            model=model,
            input={"anyOf": [FULL, several(FULL, MOST_TEXTS, 1), ids, several(ids, MOST_TEXTS, 1)]},
            encoding_format={"enum": [None, "float", "base64"]},
            pooling={"enum": [None, "mean", "last"]},
            user=ANY,
        ),
        "/v1/score/evaluation": closed(
            ("messages",), model=model, messages=several(FULL, MOST_TEXTS, 1), max_length=whole(1, MANY)
        ),
        "/tokenize": {"anyOf": [closed(("prompt",), model=model, prompt=prompt), chat]},
        "/v1/load_lora_adapter": closed(
            ("lora_name", "lora_path"),
            lora_name=name,
            lora_path={"type": "string", "minLength": 1, "maxLength": 4096},
            load_inplace=FLAG,
            is_3d_lora_weight={"enum": [None, False]},
        ),
        "/v1/unload_lora_adapter": closed(("lora_name",), lora_name=name, lora_int_id={}),
    }


ERROR: Schema = record(
    ("error",),
    error=record(("message", "type", "param", "code"), message=TEXT, type=TEXT, param=maybe(TEXT), code=maybe(TEXT)),
)
EVENT = record(("data",), data=TEXT)
"""Each event of a stream: a chunk as JSON, an error, or [DONE]."""
USAGE = record(("prompt_tokens", "total_tokens"), prompt_tokens={"type": "integer"}, total_tokens={"type": "integer"})
LISTED = record(
    ("id", "object", "created", "owned_by"), id=TEXT, object=TEXT, created={"type": "integer"}, owned_by=TEXT
)
COMPLETION = record(("id", "object", "created", "model", "choices", "usage"), choices={"type": "array"}, usage=USAGE)
ANSWERS: dict[str, dict[str, Schema]] = {
    **{path: {"application/json": record(("status",), status=TEXT)} for path in sorted(OPEN)},
    "/v1/models": {"application/json": record(("object", "data"), data={"type": "array", "items": LISTED})},
    "/v1/models/{name}": {"application/json": LISTED},
    "/info": {"application/json": record(("version", "model", "models"), model=TEXT)},
    "/metrics": {"text/plain": TEXT},
    "/v1/chat/completions": {"application/json": COMPLETION, "text/event-stream": EVENT},
    "/v1/completions": {"application/json": COMPLETION, "text/event-stream": EVENT},
    "/v1/embeddings": {"application/json": record(("object", "data", "model", "usage"), usage=USAGE)},
    "/v1/score/evaluation": {"application/json": record(("id", "object", "model", "scores"))},
    "/tokenize": {"application/json": record(("count", "tokens"), count={"type": "integer"})},
    "/v1/load_lora_adapter": {"text/plain": TEXT},
    "/v1/unload_lora_adapter": {"text/plain": TEXT},
}
"""What each route gives when all is well."""
REFUSALS = {
    400: "a parameter is wrong; `param` names it",
    401: "a valid key is needed",
    403: "this Host, Origin or folder is not allowed",
    404: "there is no such model or adapter",
    405: "this model does not do that: a reward model scores, others answer",
    408: "the body did not arrive in time",
    413: "the body is too large",
    415: "the body must be application/json",
    429: "as many requests wait as may wait; see Retry-After",
    503: "the model is still being loaded, or the server is being stopped; see Retry-After",
}


def complete(described: Schema, vocabulary: int) -> None:
    """Fill in, in place, what FastAPI cannot know of bodies that are read by hand."""
    described.setdefault("components", {})["schemas"] = {"Error": ERROR}
    described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    taken = bodies(vocabulary)
    for path, methods in described["paths"].items():
        for way in methods.values():
            way["responses"] = _responses(path, body=path in taken)
            way["security"] = [] if path in OPEN else [{"key": []}]
            if path in taken:
                way["requestBody"] = {"required": True, "content": {"application/json": {"schema": taken[path]}}}


def _responses(path: str, *, body: bool) -> Schema:
    shown = {kind: {"schema": schema} for kind, schema in ANSWERS[path].items()}
    told: Schema = {"200": {"description": "all is well", "content": shown}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    statuses = REFUSALS if body else ((401, 403, 404) if "{" in path else (401, 403))
    told |= {str(status): {"description": REFUSALS[status], "content": error} for status in statuses}
    if body:
        told["499"] = {"description": "the client left before the answer"}
    return told
