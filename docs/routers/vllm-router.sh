#!/bin/sh
# vLLM's router (pip install vllm-router) in front of two Ratchet engines on one registry:
#   ENGINE_1=http://127.0.0.1:8001 ENGINE_2=http://127.0.0.1:8002 docs/routers/vllm-router.sh --port 8000
# It passes keys, names, headers and streams through as they are. `/ready` is 503 while an engine restarts or drains.
exec vllm-router --worker-urls "$ENGINE_1" "$ENGINE_2" --policy round_robin --host 127.0.0.1 \
    --health-check-endpoint /ready --health-check-interval-secs 2 --retry-max-retries 3 "$@"
