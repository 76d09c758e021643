"""What LangChain's ChatOpenAI gets from the endpoint in OPENAI_BASE_URL; one JSON object on the last line.

Runs in .venv-clients, which has none of our packages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

QUESTION = "Tell me about the dog"
# For guided decoding: a small model would choose white space, which JSON allows anywhere, for ever.
GUIDED = {"max_tokens": 100, "frequency_penalty": 2}


class Colour(BaseModel):
    """A colour."""

    colour: Literal["red", "blue"] = Field(description="one of two")


@tool
def pick(colour: Literal["red", "blue"]) -> str:
    """Choose a colour."""
    return colour


def model(name: str = "support@prod", **settings: Any) -> ChatOpenAI:
    defaults = {"temperature": 0, "max_tokens": 24, "max_retries": 0}
    return ChatOpenAI(model=name, **{**defaults, **settings})


def problem(act: Callable[[], object]) -> dict[str, Any] | None:
    try:
        act()
    except openai.APIStatusError as error:
        return {
            "kind": [kind.__name__ for kind in type(error).__mro__],
            "status": error.status_code,
            "message": error.message,
        }
    return None


def main() -> None:
    answer = model(include_response_headers=True).invoke(QUESTION)
    chunks = list(model(stream_usage=True).stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    call = model(**GUIDED).bind_tools([pick], tool_choice="pick", strict=True).invoke(QUESTION)
    guided = model(**GUIDED)
    by_schema = guided.with_structured_output(Colour, method="json_schema")
    by_call = guided.with_structured_output(Colour, method="function_calling", strict=True)
    said = {
        "chat": {
            "text": answer.content,
            "model": answer.response_metadata["model_name"],
            "header": answer.response_metadata["headers"]["x-ratchet-model"],
            "usage": answer.usage_metadata,
        },
        "stream": {"text": whole.content, "chunks": len(chunks), "usage": whole.usage_metadata},
        "tool": {"name": call.tool_calls[0]["name"], "arguments": call.tool_calls[0]["args"]},
        "structured": by_schema.invoke(QUESTION).model_dump(),
        "function_calling": by_call.invoke(QUESTION).model_dump(),
        "unknown": problem(lambda: model("nobody").invoke(QUESTION)),
        "bad": problem(lambda: model(temperature=-1).invoke(QUESTION)),
        "wrong_key": problem(lambda: model(api_key="wrong").invoke(QUESTION)),
        "embeddings": problem(
            lambda: OpenAIEmbeddings(model="tiny", check_embedding_ctx_length=False, max_retries=0).embed_query(
                QUESTION
            )
        ),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
