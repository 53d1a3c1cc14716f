"""What the official Python client sees of shunt. Usage: checks.py http://host:port

Prints `ok NAME` or `fail NAME: why` for each check; before it, `billed {...}` for
what must be billed. The site is the one of sdk_site_test.go."""

import asyncio
import json
import sys
import traceback

import openai

SITE = sys.argv[1]
MESSAGES = [{"role": "user", "content": "hello"}]
MODEL = "acme/chat"
CHAT = {"model": MODEL, "messages": MESSAGES}
QUICK = "Hello from quick: 1 2 3 4 5"
THRIFTY = "Hello from thrifty: 1 2 3 4 5"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"from": {"type": "string"}},
            "required": ["from"],
            "additionalProperties": False,
        },
    },
}

client = openai.OpenAI(base_url=SITE + "/v1", api_key="python", max_retries=0, timeout=60)
CHECKS = {}


def check(function):
    CHECKS[function.__name__.replace("_", "-")] = function
    return function


def equal(what, got, want):
    if got != want:
        raise AssertionError(f"{what} is {got!r}, want {want!r}")


def true(what, got):
    if not got:
        raise AssertionError(f"{what} is {got!r}")


def billed(**want):
    print("billed", json.dumps(want), flush=True)


def raised(kind, call):
    """The error of call, which must be of exactly this kind: an APIConnectionError or
    APITimeoutError is none of them."""
    try:
        call()
    except openai.OpenAIError as error:
        equal("error", type(error).__name__, kind.__name__)
        return error
    raise AssertionError(f"no {kind.__name__}")


def api_error(kind, status, code, param, call):
    error = raised(kind, call)
    equal("status_code", error.status_code, status)
    equal("code", error.code, code)
    equal("param", error.param, param)
    true("message", error.message)
    true("request_id", error.request_id)
    return error


def refused(kind, status, code, param, call):
    """shunt did not admit the request."""
    error = api_error(kind, status, code, param, call)
    equal("type", error.type, "invalid_request_error")
    billed(id=error.request_id, status="none")


def failed(kind, status, code, **params):
    """Both providers did."""
    error = api_error(kind, status, code, None, lambda: client.chat.completions.create(messages=MESSAGES, **params))
    equal("x-attempts", error.response.headers["x-attempts"], "2")
    billed(id=error.request_id, status="failed", attempts=2)
    return error


def raw_chat(**params):
    """(completion, headers) of a chat request."""
    raw = client.chat.completions.with_raw_response.create(**{**CHAT, **params})
    return raw.parse(), raw.headers


def served(by, attempts, kind, **params):
    completion, headers = raw_chat(**params)
    equal("x-provider", headers["x-provider"], by)
    equal("provider", completion.provider, by)
    equal("x-attempts", headers["x-attempts"], str(attempts))
    equal("content", completion.choices[0].message.content, f"Hello from {by}: 1 2 3 4 5")
    billed(id=headers["x-request-id"], status="completed", kind=kind, provider=by, attempts=attempts, usage="reported")


def named_once(events):
    """The provider is on the first event and on no other."""
    equal("provider on the events", [(e.model_extra or {}).get("provider") for e in events], ["quick"] + [None] * (len(events) - 1))


def assembled(chunks):
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


@check
def chat():
    completion = client.chat.completions.create(**CHAT)
    equal("content", completion.choices[0].message.content, QUICK)
    equal("finish_reason", completion.choices[0].finish_reason, "stop")
    equal("completion_tokens", completion.usage.completion_tokens, 8)
    equal("provider", completion.provider, "quick")
    billed(id=completion._request_id, status="completed", kind="default", provider="quick", attempts=1, usage="reported")


@check
def chat_stream():
    stream = client.chat.completions.create(**CHAT, stream=True)
    chunks = list(stream)
    equal("content", assembled(chunks), QUICK)
    equal("finish_reason", chunks[-1].choices[0].finish_reason, "stop")
    equal("chunks with usage", [c for c in chunks if c.usage], [])
    equal("chunks without choices", [c for c in chunks if not c.choices], [])
    named_once(chunks)
    billed(id=stream.response.headers["x-request-id"], status="completed", provider="quick", usage="reported")


@check
def chat_stream_usage():
    stream = client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    equal("content", assembled(chunks), QUICK)
    equal("chunks with usage", [i for i, c in enumerate(chunks) if c.usage], [len(chunks) - 1])
    equal("choices of the last", chunks[-1].choices, [])
    equal("completion_tokens", chunks[-1].usage.completion_tokens, 8)
    named_once(chunks)


@check
def tools():
    call = {**CHAT, "tools": [WEATHER]}
    message = client.chat.completions.create(**call).choices[0].message
    function = message.tool_calls[0].function
    equal("call", (function.name, json.loads(function.arguments)), ("weather", {"from": "quick"}))
    call["messages"] = MESSAGES + [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"}]
    equal("content", client.chat.completions.create(**call).choices[0].message.content, QUICK)


@check
def tools_stream():
    with client.chat.completions.stream(**CHAT, tools=[WEATHER]) as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    equal("arguments", [(e.name, e.arguments) for e in done], [("weather", '{"from":"quick"}')])
    equal("finish_reason", final.choices[0].finish_reason, "tool_calls")
    equal("parsed", final.choices[0].message.tool_calls[0].function.parsed_arguments, {"from": "quick"})


@check
def responses():
    response = client.responses.create(model=MODEL, input="hello")
    equal("output_text", response.output_text, QUICK)
    equal("status", response.status, "completed")
    equal("output_tokens", response.usage.output_tokens, 8)
    equal("provider", response.provider, "quick")
    billed(id=response._request_id, status="completed", provider="quick", usage="reported")


@check
def responses_stream():
    with client.responses.stream(model=MODEL, input="hello") as stream:
        events = list(stream)
        equal("output_text", stream.get_final_response().output_text, QUICK)
    equal("types", [e.type for e in events if e.type != "response.output_text.delta"], [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"])
    equal("sequence numbers", [e.sequence_number for e in events], list(range(len(events))))
    raw = list(client.responses.create(model=MODEL, input="hello", stream=True))
    equal("text", "".join(e.delta for e in raw if e.type == "response.output_text.delta"), QUICK)
    equal("usage", raw[-1].response.usage.output_tokens, 8)
    named_once(raw)


@check
def completions():
    completion = client.completions.create(model=MODEL, prompt="hello")
    equal("text", completion.choices[0].text, QUICK)
    equal("provider", completion.provider, "quick")


@check
def completions_stream():
    chunks = list(client.completions.create(model=MODEL, prompt="hello", stream=True))
    equal("text", "".join(c.choices[0].text for c in chunks), QUICK)
    equal("chunks with usage", [c for c in chunks if c.usage], [])
    named_once(chunks)


@check
def models_list():
    models = {m.id: m for m in client.models.list()}
    true("acme/chat in the list", MODEL in models)
    equal("object", models[MODEL].object, "model")
    equal("providers", sorted(models[MODEL].providers), ["quick", "thrifty"])


@check
def models_retrieve():
    model = client.models.retrieve(MODEL)
    equal("id", model.id, MODEL)
    equal("providers", sorted(model.providers), ["quick", "thrifty"])
    raised(openai.NotFoundError, lambda: client.models.retrieve("acme/nothing"))


@check
def api_v1_base():
    other = client.with_options(base_url=SITE + "/api/v1")
    equal("content", other.chat.completions.create(**CHAT).choices[0].message.content, QUICK)
    equal("output_text", other.responses.create(model=MODEL, input="hello").output_text, QUICK)
    equal("id", other.models.retrieve(MODEL).id, MODEL)


@check
def raw_response():
    completion, headers = raw_chat()
    equal("x-provider", headers["x-provider"], "quick")
    equal("x-attempts", headers["x-attempts"], "1")
    true("x-request-id", headers["x-request-id"])
    equal("_request_id", completion._request_id, headers["x-request-id"])
    equal("internal headers", [h for h in headers if h.startswith(("x-shunt-", "x-envoy-"))], [])
    with client.chat.completions.with_streaming_response.create(**CHAT, stream=True) as streamed:
        equal("x-provider of a stream", streamed.headers["x-provider"], "quick")
        equal("x-attempts of a stream", streamed.headers["x-attempts"], "1")
        true("x-request-id of a stream", streamed.headers["x-request-id"])
        equal("content", assembled(streamed.parse()), QUICK)


@check
def provider_object():
    served("thrifty", 1, "explicit", extra_body={"provider": {"order": ["thrifty"]}})
    served("thrifty", 1, "explicit", extra_body={"provider": "thrifty"})
    refused(openai.BadRequestError, 400, "invalid_provider_object", "provider.max_price.prompt",
            lambda: client.chat.completions.create(**CHAT, extra_body={"provider": {"max_price": {"prompt": "low"}}}))


@check
def provider_header():
    served("thrifty", 1, "explicit", extra_headers={"X-Provider": "Thrifty"})


@check
def model_suffix():
    served("thrifty", 1, "suffix", model=MODEL + ":floor")
    served("thrifty", 1, "explicit", model="thrifty/" + MODEL)


@check
def bad_request():
    unknown = {**CHAT, "extra_headers": {"X-Provider": "nobody"}}
    for params in (unknown, {**unknown, "stream": True}):
        refused(openai.BadRequestError, 400, "provider_unknown_provider", "X-Provider",
                lambda: client.chat.completions.create(**params))
    refused(openai.BadRequestError, 400, "provider_unknown_provider", "provider.only",
            lambda: client.responses.create(model=MODEL, input="hello", extra_body={"provider": {"only": ["nobody"]}}))


@check
def unknown_model():
    refused(openai.NotFoundError, 404, "model_not_found", "model",
            lambda: client.chat.completions.create(model="acme/nothing", messages=MESSAGES))


@check
def rate_limit():
    equal("type", failed(openai.RateLimitError, 429, "rate_limit_exceeded", model="acme/limited").type, "rate_limit_error")


@check
def provider_refused():
    error = failed(openai.InternalServerError, 502, "provider_error", model="acme/refused")
    true("the provider's name in the message", "thrifty" in error.message)
    true("absence of the provider's own words", "API key" not in error.message)


@check
def no_provider():
    for params in ({}, {"stream": True}):
        failed(openai.InternalServerError, 502, "all_providers_failed", model="acme/dead", **params)


@check
def other_api():
    refused(openai.NotFoundError, 404, "not_found", None, lambda: client.embeddings.create(model=MODEL, input="hello"))
    refused(openai.NotFoundError, 404, "not_found", None, lambda: client.responses.retrieve("resp_1"))


@check
def failover():
    served("thrifty", 2, "default", model="acme/flaky")
    chunks = list(client.chat.completions.create(model="acme/flaky", messages=MESSAGES, stream=True))
    equal("content", assembled(chunks), THRIFTY)
    equal("provider", chunks[0].provider, "thrifty")


@check
def concurrent():
    async def one(client, n):
        if n % 2:
            stream = await client.chat.completions.create(**CHAT, stream=True)
            return assembled([chunk async for chunk in stream])
        return (await client.chat.completions.create(**CHAT)).choices[0].message.content

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=SITE + "/v1", api_key="python", max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, n) for n in range(20)))

    equal("answers", asyncio.run(all_of_them()), [QUICK] * 20)


@check
def stream_error():
    stream = client.chat.completions.create(model="acme/broken", messages=MESSAGES, stream=True)
    error = raised(openai.APIError, lambda: list(stream))
    equal("code", error.code, "server_error")


@check
def stream_cut():
    stream = client.chat.completions.create(model="acme/cut", messages=MESSAGES, stream=True)
    seen = []
    try:
        for chunk in stream:
            seen.append(chunk)
    except Exception as error:
        equal("content", assembled(seen), "Hello from")
        true("a network error", type(error).__module__.startswith(("httpx", "openai")))
        return
    raise AssertionError("the broken stream looked complete")


@check
def abort():
    stream = client.chat.completions.create(model="acme/endless", messages=MESSAGES, stream=True)
    for n, _ in enumerate(stream):
        if n == 5:
            break
    stream.close()
    billed(id=stream.response.headers["x-request-id"], status="cancelled", provider="quick", usage="estimated")

    async def abandon():
        async with openai.AsyncOpenAI(base_url=SITE + "/v1", api_key="python", max_retries=0, timeout=60) as client:
            stream = await client.chat.completions.create(model="acme/endless", messages=MESSAGES, stream=True)
            begun = asyncio.Event()

            async def read():
                async with stream:
                    async for _ in stream:
                        begun.set()

            task = asyncio.create_task(read())
            await begun.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            true("cancelled", task.cancelled())
            return stream.response.headers["x-request-id"]

    billed(id=asyncio.run(abandon()), status="cancelled", provider="quick", usage="estimated")


@check
def timeout():
    raised(openai.APITimeoutError,
           lambda: client.chat.completions.create(model="hang-python", messages=MESSAGES, timeout=3))
    billed(requested_model="hang-python", status="cancelled")


def main():
    for name, function in CHECKS.items():
        try:
            function()
            print("ok", name, flush=True)
        except Exception as error:
            line = next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__))
                         if f.filename == __file__ and f.name not in ("equal", "true")), 0)
            print(f"fail {name}: line {line}: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)


main()
