"""What an answer of a model looks like on the wire of each protocol.

A protocol reads the tools that a request offers and whether it wants a stream, and writes an answer
as one JSON document or as server-sent events. Pure: no sockets, no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from fleet.adapters.model.calls import Answer, Tool

Events = list[tuple[str, Any]]  # (name of a server-sent event or "", its document or text)


class Wire(Protocol):
    """One protocol."""

    def tools(self, asked: Mapping[str, Any]) -> list[Tool]:
        """Returns the tools that a request offers."""

    def streams(self, asked: Mapping[str, Any], path: str) -> bool:
        """Returns whether a request wants its answer as events."""

    def whole(self, answer: Answer) -> Any:
        """Returns an answer as one document."""

    def stream(self, answer: Answer) -> Events:
        """Returns an answer as server-sent events."""

    def error(self, status: int, kind: str, text: str, detail: Mapping[str, Any]) -> Any:
        """Returns a failure of an HTTP status; `kind` is the protocol's own name for it."""


class Anthropic:
    """Messages: `/v1/messages`."""

    def tools(self, asked: Mapping[str, Any]) -> list[Tool]:
        offered = asked.get("tools") or ()
        return [Tool(one["name"], one.get("input_schema") or {}) for one in offered]

    def streams(self, asked: Mapping[str, Any], path: str) -> bool:
        return bool(asked.get("stream"))

    def whole(self, answer: Answer) -> Any:
        parts: list[dict[str, Any]] = []
        if answer.text or not answer.calls:
            parts.append({"type": "text", "text": answer.text})
        parts += [
            {"type": "tool_use", "id": f"toolu_{answer.id}_{n}", "name": name, "input": told}
            for n, (name, told) in enumerate(answer.calls)
        ]
        return {
            "id": f"msg_{answer.id}",
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": parts,
            "stop_reason": "tool_use" if answer.calls else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": answer.usage.read,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": answer.usage.cached,
                "output_tokens": answer.usage.written,
            },
        }

    def stream(self, answer: Answer) -> Events:
        whole = self.whole(answer)
        opening = {**whole, "content": [], "stop_reason": None}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": opening}]
        for n, part in enumerate(whole["content"]):
            if part["type"] == "text":
                empty, delta = {**part, "text": ""}, {"type": "text_delta", "text": part["text"]}
            else:
                empty = {**part, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": json.dumps(part["input"])}
            events += [
                {"type": "content_block_start", "index": n, "content_block": empty},
                {"type": "content_block_delta", "index": n, "delta": delta},
                {"type": "content_block_stop", "index": n},
            ]
        ended = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        events.append({"type": "message_delta", "delta": ended, "usage": whole["usage"]})
        events.append({"type": "message_stop"})
        return [(event["type"], event) for event in events]

    def error(self, status: int, kind: str, text: str, detail: Mapping[str, Any]) -> Any:
        names = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}
        told = {"type": kind or names.get(status, "api_error"), "message": text, **detail}
        return {"type": "error", "error": told, "request_id": "req_scripted"}


class Responses:
    """OpenAI Responses: `/v1/responses`."""

    def tools(self, asked: Mapping[str, Any]) -> list[Tool]:
        return list(self._tools(asked.get("tools") or ()))

    def _tools(self, offered: Sequence[Mapping[str, Any]]) -> Iterator[Tool]:
        for one in offered:
            if one.get("type") == "function":
                yield Tool(one["name"], one.get("parameters") or {})
            elif one.get("type") == "custom":
                yield Tool(one["name"], free=True)

    def streams(self, asked: Mapping[str, Any], path: str) -> bool:
        return bool(asked.get("stream"))

    def whole(self, answer: Answer) -> Any:
        said: list[dict[str, Any]] = []
        if answer.text or not answer.calls:
            text = {"type": "output_text", "text": answer.text, "annotations": []}
            said.append(
                {
                    "type": "message",
                    "id": f"m_{answer.id}",
                    "role": "assistant",
                    "status": "completed",
                    "content": [text],
                }
            )
        said += [
            {
                "type": "function_call",
                "id": f"fc_{answer.id}_{n}",
                "status": "completed",
                "call_id": f"call_{answer.id}_{n}",
                "name": name,
                "arguments": json.dumps(told),
            }
            for n, (name, told) in enumerate(answer.calls)
        ]
        read = answer.usage.read + answer.usage.cached
        return {
            "id": f"resp_{answer.id}",
            "object": "response",
            "status": "completed",
            "model": answer.model,
            "output": said,
            "usage": {
                "input_tokens": read,
                "input_tokens_details": {"cached_tokens": answer.usage.cached},
                "output_tokens": answer.usage.written,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read + answer.usage.written,
            },
        }

    def stream(self, answer: Answer) -> Events:
        whole = self.whole(answer)
        opening = {**whole, "status": "in_progress", "output": [], "usage": None}
        events: list[dict[str, Any]] = [{"type": "response.created", "response": opening}]
        for n, part in enumerate(whole["output"]):
            events.append({"type": "response.output_item.added", "output_index": n, "item": part})
            if part["type"] == "message":
                events.append(
                    {
                        "type": "response.output_text.delta",
                        "item_id": part["id"],
                        "output_index": n,
                        "content_index": 0,
                        "delta": answer.text,
                    }
                )
            events.append({"type": "response.output_item.done", "output_index": n, "item": part})
        events.append({"type": "response.completed", "response": whole})
        return [(event["type"], event) for event in events]

    def error(self, status: int, kind: str, text: str, detail: Mapping[str, Any]) -> Any:
        return _openai_error(status, kind, text, detail)


class Chat:
    """OpenAI Chat Completions: `/v1/chat/completions`."""

    def tools(self, asked: Mapping[str, Any]) -> list[Tool]:
        offered = [one["function"] for one in asked.get("tools") or () if "function" in one]
        return [Tool(one["name"], one.get("parameters") or {}) for one in offered]

    def streams(self, asked: Mapping[str, Any], path: str) -> bool:
        return bool(asked.get("stream"))

    def whole(self, answer: Answer) -> Any:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{answer.id}_{n}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(told)},
                }
                for n, (name, told) in enumerate(answer.calls)
            ]
        ended = "tool_calls" if answer.calls else "stop"
        read = answer.usage.read + answer.usage.cached
        return {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": 0,
            "model": answer.model,
            "choices": [{"index": 0, "message": message, "finish_reason": ended}],
            "usage": {
                "prompt_tokens": read,
                "prompt_tokens_details": {"cached_tokens": answer.usage.cached},
                "completion_tokens": answer.usage.written,
                "total_tokens": read + answer.usage.written,
            },
        }

    def stream(self, answer: Answer) -> Events:
        whole = self.whole(answer)
        chunk = {**whole, "object": "chat.completion.chunk", "usage": None}
        (choice,) = whole["choices"]
        delta = dict(choice["message"])
        if "tool_calls" in delta:
            delta["tool_calls"] = [{"index": n, **one} for n, one in enumerate(delta["tool_calls"])]
        events: Events = [
            ("", {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
            ("", {**chunk, "choices": [{**choice, "delta": {}, "message": None}]}),
            ("", {**chunk, "choices": [], "usage": whole["usage"]}),
            ("", "[DONE]"),
        ]
        events[1][1]["choices"][0].pop("message")
        return events

    def error(self, status: int, kind: str, text: str, detail: Mapping[str, Any]) -> Any:
        return _openai_error(status, kind, text, detail)


class Gemini:
    """Gemini: `/v1beta/models/MODEL:generateContent` and `:streamGenerateContent`."""

    def tools(self, asked: Mapping[str, Any]) -> list[Tool]:
        offered = [
            one
            for told in asked.get("tools") or ()
            if isinstance(told, dict)
            for one in told.get("functionDeclarations") or ()
        ]
        schema = ("parametersJsonSchema", "parameters")
        return [
            Tool(one["name"], next((one[key] for key in schema if one.get(key)), {}))
            for one in offered
        ]

    def streams(self, asked: Mapping[str, Any], path: str) -> bool:
        return ":streamGenerateContent" in path

    def whole(self, answer: Answer) -> Any:
        parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.text else []
        parts += [{"functionCall": {"name": name, "args": told}} for name, told in answer.calls]
        content = {"role": "model", "parts": parts or [{"text": ""}]}
        read = answer.usage.read + answer.usage.cached
        return {
            "responseId": answer.id,
            "modelVersion": answer.model,
            "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}],
            "usageMetadata": {
                "promptTokenCount": read,
                "cachedContentTokenCount": answer.usage.cached,
                "candidatesTokenCount": answer.usage.written,
                "totalTokenCount": read + answer.usage.written,
            },
        }

    def stream(self, answer: Answer) -> Events:
        return [("", self.whole(answer))]

    def error(self, status: int, kind: str, text: str, detail: Mapping[str, Any]) -> Any:
        names = {401: "UNAUTHENTICATED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
        told = {"code": status, "message": text, "status": kind or names.get(status, "UNAVAILABLE")}
        return {"error": {**told, **detail}}


def _openai_error(status: int, kind: str, text: str, detail: Mapping[str, Any]) -> Any:
    names = {401: "invalid_request_error", 429: "rate_limit_exceeded"}
    told = {"message": text, "type": kind or names.get(status, "server_error"), "code": None}
    return {"error": {**told, **detail}}


def find_wire(path: str) -> Wire | None:
    """Returns the protocol that a path belongs to; None for none."""
    plain = path.partition("?")[0]
    if plain.endswith("/v1/messages"):
        return Anthropic()
    if plain.endswith("/responses"):
        return Responses()
    if plain.endswith("/chat/completions"):
        return Chat()
    if plain.endswith((":generateContent", ":streamGenerateContent")):
        return Gemini()
    return None


def beside(path: str) -> tuple[int, Any]:
    """Returns the status and document for what programs ask beside their turns: models, counts."""
    plain = path.partition("?")[0]
    if plain.endswith("/models"):
        return 200, {"object": "list", "data": [], "models": []}
    if plain.endswith(("/count_tokens", ":countTokens")):
        return 200, {"input_tokens": 10, "totalTokens": 10}
    return 404, {"error": {"message": f"nothing at {plain}"}}
