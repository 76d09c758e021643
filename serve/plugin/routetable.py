"""The routes that are open, and what each asks of its caller: one table.

Everything that `ROUTES` and `PATTERNS` do not name is closed to all but the engine's own token and keys with the admin
scope; vLLM adds routes with every version, and none of them opens by itself. `CLOSED` names those of vLLM 0.32 with the
reason, for the error message, and so that a test tells a new route from a known one.
"""

from __future__ import annotations

import re
from enum import Enum


class Need(Enum):
    """What a route asks of whoever calls it."""

    NOTHING = "open to everybody, for probes"
    KEY = "any living key"
    INFER = "infer"
    FEEDBACK = "feedback"
    OPERATOR = "admin, once keys are in force"
    ADMIN = "admin"


ROUTES: dict[tuple[str, str], Need] = {
    ("GET", "/health"): Need.NOTHING,
    ("GET", "/ping"): Need.NOTHING,
    ("POST", "/ping"): Need.NOTHING,
    ("GET", "/ready"): Need.NOTHING,
    ("GET", "/version"): Need.KEY,
    ("GET", "/v1/models"): Need.KEY,
    ("GET", "/ratchet/openapi.json"): Need.KEY,
    ("GET", "/ratchet/registry"): Need.INFER,
    ("POST", "/v1/chat/completions"): Need.INFER,
    ("POST", "/v1/completions"): Need.INFER,
    ("POST", "/v1/embeddings"): Need.INFER,
    ("POST", "/tokenize"): Need.INFER,
    ("POST", "/detokenize"): Need.INFER,
    ("POST", "/ratchet/score"): Need.INFER,
    ("POST", "/v1/feedback"): Need.FEEDBACK,
    ("GET", "/ratchet/health"): Need.OPERATOR,
}
# The same with a part that varies: no `/` and no `.` that could lead elsewhere.
PATTERNS: list[tuple[str, re.Pattern[str], Need]] = [
    ("GET", re.compile(r"/ratchet/registry/(?:(?!.*\.\.)[a-z0-9][a-z0-9._-]{0,63}|\{name\})"), Need.INFER),
]

# These name a model in their body.
MODEL_PATHS = frozenset(path for (method, path), need in ROUTES.items() if need is Need.INFER and method == "POST")

OPERATORS = "it is for whoever runs the engine"
CLOSED: dict[str, str] = {
    **dict.fromkeys(
        (
            *("/adapters", "/adapters/{adapter_name}", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
            *("/metrics", "/load", "/kv_event_sources", "/start_profile", "/stop_profile", "/tokenizer_info"),
            *("/scale_elastic_ep", "/is_scaling_elastic_ep", "/fault_tolerance/apply", "/fault_tolerance/status"),
            *("/abort_requests", "/inference/v1/abort_requests"),
            # only with VLLM_SERVER_DEV_MODE
            *("/server_info", "/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache", "/collective_rpc"),
            *("/sleep", "/wake_up", "/is_sleeping", "/release_kv_cache_memory", "/pause", "/resume", "/is_paused"),
            *("/init_weight_transfer_engine", "/shutdown_weight_transfer_engine", "/start_weight_update"),
            *("/start_draft_weight_update", "/update_weights", "/finish_weight_update", "/update_weight_version"),
            *("/weight_info", "/weight_checker", "/get_world_size"),
            # only with FastAPI's pages switched on
            *("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/static"),
        ),
        OPERATORS,
    ),
    **dict.fromkeys(
        (
            *("/v1/responses", "/v1/responses/{response_id}", "/v1/responses/{response_id}/cancel"),
            "/v1/responses/render",
        ),
        "it keeps answers that any key could read; use /v1/chat/completions",
    ),
    **dict.fromkeys(
        (
            *("/v1/messages", "/v1/messages/count_tokens", "/v1/messages/render"),
            *("/cohere/v2/chat", "/cohere/v2/chat/render", "/invocations"),
        ),
        "another protocol, without names, limits and usage of ours; use /v1/chat/completions",
    ),
    "/v1/chat/completions/batch": "one conversation per request has limits and usage; use /v1/chat/completions",
    **dict.fromkeys(
        ("/pooling", "/classify", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/v2/embed"),
        "engines of ours serve generation and /v1/embeddings",
    ),
    **dict.fromkeys(
        ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/realtime"),
        "engines of ours serve text",
    ),
    **dict.fromkeys(
        ("/generative_scoring", "/v1/systemone"), "use log-probs of /v1/completions, or /ratchet/score for many choices"
    ),
    **dict.fromkeys(
        (
            *("/inference/v1/generate", "/v1/completions/render", "/v1/chat/completions/render"),
            *("/v1/completions/derender", "/v1/chat/completions/derender"),
        ),
        "it is for engines that share work among them",
    ),
}


def need_of(method: str, path: str) -> Need:
    """What `method path` asks for. Paths count exactly as vLLM's router matches them: decoded, case and slashes too."""
    found = ROUTES.get((method, path))
    if found is not None:
        return found
    return next((need for verb, pattern, need in PATTERNS if verb == method and pattern.fullmatch(path)), Need.ADMIN)
