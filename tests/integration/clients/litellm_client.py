"""What LiteLLM's client gets from the endpoint in OPENAI_BASE_URL; one JSON object on the last line.

Runs in .venv-clients, which has none of our packages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import litellm
import openai
from pydantic import BaseModel

MESSAGES = [{"role": "user", "content": "Tell me about the dog"}]
ASKED = {"model": "openai/support@prod", "messages": MESSAGES, "temperature": 0, "max_tokens": 24, "num_retries": 0}
# For guided decoding: a small model would choose white space, which JSON allows anywhere, for ever.
GUIDED = {**ASKED, "max_tokens": 100, "frequency_penalty": 2}
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
PICK = {"name": "pick", "description": "Choose a colour.", "parameters": SCHEMA, "strict": True}
TOOL = {"type": "function", "function": PICK}


class Colour(BaseModel):
    colour: Literal["red", "blue"]


def problem(act: Callable[[], object]) -> dict[str, Any] | None:
    try:
        act()
    except openai.APIStatusError as error:  # LiteLLM's own classes derive from the official client's
        return {
            "kind": [kind.__name__ for kind in type(error).__mro__],
            "status": error.status_code,
            "message": str(error),
        }
    return None


async def together() -> list[str]:
    """Several at once through the async client."""
    answers = await asyncio.gather(*(litellm.acompletion(**ASKED) for _ in range(4)))
    return [answer.choices[0].message.content for answer in answers]


def main() -> None:
    answer = litellm.completion(**ASKED)
    chunks = list(litellm.completion(**ASKED, stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    choice = {"type": "function", "function": {"name": "pick"}}
    call = litellm.completion(**GUIDED, tools=[TOOL], tool_choice=choice)
    structured = litellm.completion(**GUIDED, response_format=Colour)
    headers = answer._hidden_params["additional_headers"]  # LiteLLM's only way to the server's headers
    function = call.choices[0].message.tool_calls[0].function
    said = {
        "chat": {
            "text": answer.choices[0].message.content,
            "model": answer.model,
            "header": headers["llm_provider-x-ratchet-model"],
            "usage": answer.usage.model_dump(),
        },
        "stream": {
            "text": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
            "chunks": len(chunks),
            "usage": usages[-1].model_dump(),
        },
        "together": asyncio.run(together()),
        "tool": {"name": function.name, "arguments": json.loads(function.arguments)},
        "structured": json.loads(structured.choices[0].message.content),
        "unknown": problem(lambda: litellm.completion(**{**ASKED, "model": "openai/nobody"})),
        "bad": problem(lambda: litellm.completion(**{**ASKED, "temperature": -1})),
        "wrong_key": problem(lambda: litellm.completion(**ASKED, api_key="wrong")),
        "embeddings": problem(lambda: litellm.embedding("openai/tiny", input=["the dog"], num_retries=0)),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
