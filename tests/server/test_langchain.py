"""LangChain as a client: answers, streams, batches, tools, structured answers and embeddings, as its users ask."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

KEY = "sesame-opens-this"


class Sight(BaseModel):
    """What was seen."""

    animal: Literal["goose", "fox"]
    watching: bool


@tool
def look(direction: Literal["left", "right"]) -> str:
    """Look somewhere."""
    return f"a fox on the {direction}"


@pytest.fixture(scope="module")
def chat(served: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="tiny", base_url=f"{served.url}/v1", api_key=SecretStr(KEY), temperature=0, max_retries=0, timeout=30,
        max_completion_tokens=12,
    )  # fmt: skip


def test_an_answer_and_its_stream_are_the_same_and_tell_their_usage(chat: ChatOpenAI) -> None:
    asked = [SystemMessage("Be brief."), HumanMessage("Is it?")]
    whole = chat.invoke(asked)
    chunks = list(chat.stream(asked, stream_usage=True))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 12
    assert [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1] == whole.usage_metadata


def test_a_batch_is_answered_as_each_alone(chat: ChatOpenAI) -> None:
    asked: list[Any] = [f"{word}?" for word in ("geese", "foxes", "一个", "def")]
    assert [one.content for one in chat.batch(asked)] == [chat.invoke(one).content for one in asked]


def test_a_tool_is_called_and_its_result_taken_back(chat: ChatOpenAI) -> None:
    able = chat.bind_tools([look], tool_choice="any", strict=True)
    question = HumanMessage("Where is the fox?")
    called = able.invoke([question], max_completion_tokens=200)
    assert isinstance(called, AIMessage)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]["direction"] in ("left", "right")) == ("look", True)
    result = look.invoke(call)
    assert isinstance(result, ToolMessage)
    assert chat.bind_tools([look]).invoke([question, called, result]).usage_metadata is not None


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_answers_follow_their_schema(chat: ChatOpenAI, method: Any) -> None:
    found = chat.with_structured_output(Sight, method=method, strict=True).invoke(
        "What do you see?", max_completion_tokens=200
    )
    assert isinstance(found, Sight)


def test_embeddings_are_those_of_the_official_client(served: Any, client: Any) -> None:
    embedder = OpenAIEmbeddings(
        model="tiny", base_url=f"{served.url}/v1", api_key=SecretStr(KEY), check_embedding_ctx_length=False
    )
    expected = [one.embedding for one in client.embeddings.create(model="tiny", input=["geese", "fox"]).data]
    assert embedder.embed_documents(["geese", "fox"]) == [pytest.approx(one, abs=1e-6) for one in expected]
