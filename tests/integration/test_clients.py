"""Everything that vLLM gives reaches the clients people use: openai (Python, JavaScript), LangChain, LiteLLM.

One real engine for all of it. What a client says is held against the plainest request with the same settings.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import pytest
from client_world import ROOT, Served, make_key, other_clients, run, said_by, served
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from serve.lease import members, read_lease

SCRIPTS = Path(__file__).with_name("clients")
QUESTION: Any = [{"role": "user", "content": "Tell me about the dog"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
FUNCTION = {"name": "pick", "description": "Choose a colour.", "parameters": SCHEMA, "strict": True}
PICK: Any = {"type": "function", "function": FUNCTION}
PICK_IT: Any = {"type": "function", "function": {"name": "pick"}}
COLOURS = ("red", "blue")
# For guided decoding: a small model would choose white space, which JSON allows anywhere, for ever.
GUIDED: dict[str, Any] = {"max_tokens": 100, "frequency_penalty": 2}


class Colour(BaseModel):
    colour: Literal["red", "blue"]


@pytest.fixture(scope="module")
def world(engines_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(
        tmp_path_factory.mktemp("clients"), {"enable-auto-tool-choice": True, "tool-call-parser": "hermes"}
    ) as it:
        yield it


@pytest.fixture(scope="module")
def key(world: Served) -> str:
    return make_key(world.lab, "app")


@pytest.fixture(scope="module")
def client(world: Served, key: str) -> OpenAI:
    return OpenAI(base_url=world.url, api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def plain(world: Served, key: str) -> dict[str, Any]:
    """The answer to QUESTION without any client library: what all of them must say."""
    body = {"model": "support@v1", "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    headers = {"authorization": f"Bearer {key}"}
    response = httpx.post(f"{world.url}/chat/completions", json=body, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.fixture(scope="module")
def text(plain: dict[str, Any]) -> str:
    said: str = plain["choices"][0]["message"]["content"]
    assert len(said.split()) > 2, "an answer of some words, or equal answers show little"
    return said


def ask(client: OpenAI, **settings: Any) -> Any:
    defaults = {"model": "support@prod", "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    return client.chat.completions.create(**{**defaults, **settings})


def test_chat_names_the_version_that_answered(client: OpenAI, plain: dict[str, Any], text: str) -> None:
    for name in ("support", "support@prod", "support@v1"):
        raw = client.chat.completions.with_raw_response.create(
            model=name, messages=QUESTION, temperature=0, max_tokens=24
        )
        answer = raw.parse()
        assert answer.choices[0].message.content == text
        assert (answer.model, raw.headers["x-ratchet-model"]) == ("support@v1", "support@v1")
        assert answer.choices[0].finish_reason == plain["choices"][0]["finish_reason"]
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == plain["usage"]["prompt_tokens"]
        assert answer.usage.completion_tokens == plain["usage"]["completion_tokens"]
        assert answer.id.startswith("chatcmpl-")
    others = [ask(client, model=name).choices[0].message.content for name in ("support@v2", "tiny")]
    assert len({text, *others}) == 3


def test_streams_with_and_without_usage(client: OpenAI, plain: dict[str, Any], text: str) -> None:
    chunks = list(ask(client, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert {chunk.model for chunk in chunks} == {"support@v1"}
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.model_dump()["completion_tokens"] == plain["usage"]["completion_tokens"]


def test_completions_with_log_probs(client: OpenAI) -> None:
    asked: Any = {"model": "support@v2", "prompt": "The dog", "temperature": 0, "max_tokens": 8}
    answer = client.completions.create(**asked, logprobs=2)
    found = answer.choices[0].logprobs
    assert found is not None
    assert len(found.tokens or []) == len(found.token_logprobs or []) == 8
    assert all(value is not None and value <= 0 for value in found.token_logprobs or [])
    assert all(len(top) >= 2 for top in found.top_logprobs or [])
    streamed = client.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text


def test_chat_log_probs(client: OpenAI) -> None:
    answer = ask(client, logprobs=True, top_logprobs=3)
    found = answer.choices[0].logprobs.content
    assert len(found) == answer.usage.completion_tokens
    for token in found:
        assert token.logprob == pytest.approx(max(top.logprob for top in token.top_logprobs), abs=1e-4), "greedy"


def test_several_choices_and_seeds(client: OpenAI) -> None:
    def sampled(seed: int) -> list[str]:
        return [choice.message.content for choice in ask(client, n=3, temperature=1.0, seed=seed).choices]

    first = sampled(1)
    assert len(first) == 3
    assert len(set(first)) > 1
    assert sampled(1) == first
    assert sampled(2) != first


def test_stop_ends_an_answer(client: OpenAI, text: str) -> None:
    word = text.split()[1]
    answer = ask(client, stop=[word]).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content == text[: text.index(word)]


def test_tools(client: OpenAI) -> None:
    for choice in (PICK_IT, "required"):
        said = ask(client, **GUIDED, tools=[PICK], tool_choice=choice).choices[0].message
        (call,) = said.tool_calls
        assert call.function.name == "pick"
        assert json.loads(call.function.arguments)["colour"] in COLOURS
    arguments = ""
    for chunk in ask(client, **GUIDED, tools=[PICK], tool_choice=PICK_IT, stream=True):
        for part in chunk.choices[0].delta.tool_calls or []:
            arguments += part.function.arguments or ""
    assert json.loads(arguments)["colour"] in COLOURS
    assert ask(client, tools=[PICK], tool_choice="auto").choices[0].message.role == "assistant"


def test_json_schema_output(client: OpenAI) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    answer = ask(client, **GUIDED, response_format=schema)
    assert json.loads(answer.choices[0].message.content)["colour"] in COLOURS
    parsed = client.chat.completions.parse(
        model="support@prod", messages=QUESTION, temperature=0, response_format=Colour, **GUIDED
    )
    assert parsed.choices[0].message.parsed is not None
    assert parsed.choices[0].message.parsed.colour in COLOURS


def test_models_are_listed(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert "tiny" in listed
    names = {"support", "support@prod", "support@v1", "support@v2"}
    assert names <= set(listed)
    assert {(listed[name].model_extra or {})["parent"] for name in names} == {"tiny"}


def test_errors_are_the_clients_own_classes(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, model="nobody")
    assert (missing.value.status_code, missing.value.param) == (404, "model")
    assert "nobody" in missing.value.message
    with pytest.raises(openai.BadRequestError) as bad:
        ask(client, temperature=-1)
    assert bad.value.status_code == 400
    assert "temperature" in bad.value.message
    with pytest.raises(openai.BadRequestError, match="model must be a string"):
        ask(client, model=7)


def test_keys_and_limits_are_the_clients_own_classes(world: Served, client: OpenAI) -> None:
    for wrong in ("wrong", "rk-" + "x" * 43):
        with pytest.raises(openai.AuthenticationError) as unknown:
            ask(client.with_options(api_key=wrong))
        assert unknown.value.status_code == 401
        assert wrong not in unknown.value.message
    with pytest.raises(openai.NotFoundError):
        ask(client.with_options(api_key=make_key(world.lab, "elsewhere", models=["other@*"])))
    with pytest.raises(openai.PermissionDeniedError):
        ask(client.with_options(api_key=make_key(world.lab, "rater", scopes=["feedback"])))
    slow = client.with_options(api_key=make_key(world.lab, "slow", requests_per_minute=1))
    ask(slow)
    with pytest.raises(openai.RateLimitError) as limited:
        ask(slow)
    headers = limited.value.response.headers
    assert 0 < float(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit-requests"] == "1"
    with pytest.raises(openai.BadRequestError) as many:
        ask(client, n=1000)
    assert many.value.param == "n"


def test_a_model_without_embeddings_says_so(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="tiny", input="the dog")
    assert "/v1/embeddings is not here" in refused.value.message


def test_async_client(world: Served, key: str, text: str) -> None:
    async def together() -> list[str]:
        async with AsyncOpenAI(base_url=world.url, api_key=key, max_retries=0) as client:
            asked = [
                client.chat.completions.create(model=name, messages=QUESTION, temperature=0, max_tokens=24)
                for name in ["support", "tiny", "support@v2"] * 4
            ]
            return [answer.choices[0].message.content or "" for answer in await asyncio.gather(*asked)]

    said = asyncio.run(together())
    assert said[::3] == [text] * 4
    assert len(set(said)) == 3


def test_the_javascript_client(world: Served, key: str, plain: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(other_clients("js") / "node_modules")
    script = tmp_path / "client.mjs"
    script.write_text((SCRIPTS / "openai_js.mjs").read_text())
    said = said_by(["node", script], world.url, key, tmp_path)
    _agrees(said, plain)
    assert said["stream"]["finish"] == "stop"
    assert said["completion"]["model"] == "support@v2"
    assert len(said["completion"]["logprobs"]) == 8
    assert json.loads(said["tool"]["arguments"])["colour"] in COLOURS
    assert "tiny" in said["models"]
    assert said["unknown"]["param"] == "model"


@pytest.mark.parametrize("name", ["langchain", "litellm"])
def test_python_clients_of_others(world: Served, key: str, plain: dict[str, Any], text: str, name: str) -> None:
    said = said_by([other_clients("bin") / "python", SCRIPTS / f"{name}_client.py"], world.url, key, SCRIPTS)
    _agrees(said, plain)
    assert said["stream"]["chunks"] > 2
    assert said["tool"]["name"] == "pick"
    assert said["tool"]["arguments"]["colour"] in COLOURS
    assert said["embeddings"]["status"] == 404
    if name == "litellm":
        assert said["together"] == [text] * 4
    else:
        assert said["function_calling"]["colour"] in COLOURS


def _agrees(said: dict[str, Any], plain: dict[str, Any]) -> None:
    """What every client's script reports."""
    text = plain["choices"][0]["message"]["content"]
    assert said["chat"]["text"] == said["stream"]["text"] == text
    assert said["chat"]["header"] == "support@v1"
    assert said["chat"]["model"] == "support@v1"
    for where in ("chat", "stream"):
        usage = said[where]["usage"]
        assert (usage.get("completion_tokens") or usage.get("output_tokens")) == plain["usage"]["completion_tokens"]
    assert said["structured"]["colour"] in COLOURS
    wrong = [
        ("unknown", "NotFoundError", 404),
        ("bad", "BadRequestError", 400),
        ("wrong_key", "AuthenticationError", 401),
    ]
    for what, kind, status in wrong:
        assert kind in said[what]["kind"]
        assert said[what]["status"] == status
    assert "nobody" in said["unknown"]["message"]


def snippets(language: str) -> list[str]:
    """The code that docs/serving.md shows."""
    page = (ROOT / "docs" / "serving.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_pages_snippets_run(world: Served, key: str, tmp_path: Path) -> None:
    """What docs/serving.md shows works as it stands, and names the version that answered."""
    (tmp_path / "node_modules").symlink_to(other_clients("js") / "node_modules")
    shown = [*snippets("python"), *snippets("js")]
    assert len(shown) == 4
    for number, code in enumerate(shown):
        script = tmp_path / f"{number}.{'mjs' if code.startswith('import OpenAI') else 'py'}"
        script.write_text(code)
        ours = "from openai import OpenAI" in code
        python = sys.executable if ours else other_clients("bin") / "python"
        printed = run(["node" if script.suffix == ".mjs" else python, script], world.url, key, tmp_path)
        assert "support@v1" in printed, printed


def test_zz_a_client_waits_while_the_engine_restarts(world: Served, client: OpenAI, text: str) -> None:
    """The last test of this module: it kills the engine core. A client that may retry notices nothing but time."""
    lease = read_lease(world.lab.engines / world.engine.engine_id)
    assert lease is not None
    core = next(process for process in members(lease) if "EngineCor" in process.name())
    core.kill()
    refused = _first_error(client)
    assert isinstance(refused, openai.InternalServerError)
    assert refused.status_code == 503
    assert 0 < int(refused.response.headers["retry-after"]) <= 60
    assert ask(client.with_options(max_retries=30)).choices[0].message.content == text


def _first_error(client: OpenAI) -> openai.APIError:
    """Asks until an error comes."""
    while True:
        try:
            ask(client)
        except openai.APIError as error:
            return error
