package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/respjson"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"

	"github.com/shunt-gateway/shunt/test/harness"
)

// goSDK is what the official Go client sees of shunt, in one check.
type goSDK struct {
	*testing.T
	openai.Client
	site  string
	wants []billed
}

var goChecks = map[string]func(*goSDK){
	"chat": (*goSDK).chat, "chat-stream": (*goSDK).chatStream, "chat-stream-usage": (*goSDK).chatStreamUsage,
	"tools": (*goSDK).tools, "tools-stream": (*goSDK).toolsStream,
	"responses": (*goSDK).responses, "responses-stream": (*goSDK).responsesStream,
	"completions": (*goSDK).completions, "completions-stream": (*goSDK).completionsStream,
	"models-list": (*goSDK).modelsList, "models-retrieve": (*goSDK).modelsRetrieve,
	"api-v1-base": (*goSDK).apiV1Base, "raw-response": (*goSDK).rawResponse,
	"provider-object": (*goSDK).providerObject, "provider-header": (*goSDK).providerHeader, "model-suffix": (*goSDK).modelSuffix,
	"bad-request": (*goSDK).badRequest, "unknown-model": (*goSDK).unknownModel, "rate-limit": (*goSDK).rateLimit,
	"provider-refused": (*goSDK).providerRefused, "no-provider": (*goSDK).noProvider,
	"other-api": (*goSDK).otherAPI, "failover": (*goSDK).failover, "concurrent": (*goSDK).concurrent,
	"stream-error": (*goSDK).streamError, "stream-cut": (*goSDK).streamCut, "abort": (*goSDK).abort, "timeout": (*goSDK).timeout,
}

func runGoChecks(t *testing.T, s *harness.Shunt) {
	if len(goChecks) != len(sdkChecks) {
		t.Errorf("%d Go checks, %d are known", len(goChecks), len(sdkChecks))
	}
	for _, name := range sdkChecks {
		t.Run(name, func(t *testing.T) {
			check, ok := goChecks[name]
			if !ok {
				t.Fatal("Go has no such check")
			}
			defer func() {
				if r := recover(); r != nil { // an answer without choices, say
					t.Fatalf("%v\n%s", r, debug.Stack())
				}
			}()
			g := &goSDK{T: t, site: s.URL}
			g.Client = g.at("/v1")
			check(g)
			expectBilled(t, s, g.wants)
		})
	}
}

func (g *goSDK) at(base string) openai.Client {
	return openai.NewClient(option.WithBaseURL(g.site+base), option.WithAPIKey("go"), option.WithMaxRetries(0))
}

func (g *goSDK) billed(want billed) { g.wants = append(g.wants, want) }

// must ends the check at an error.
func (g *goSDK) must(err error) {
	g.Helper()
	if err != nil {
		var api *openai.Error
		if errors.As(err, &api) {
			g.Fatalf("%v: %s", err, api.RawJSON())
		}
		g.Fatal(err)
	}
}

func sdkEqual[T comparable](g *goSDK, what string, got, want T) {
	g.Helper()
	if got != want {
		g.Errorf("%s is %#v, want %#v", what, got, want)
	}
}

const (
	sdkModel    = "acme/chat"
	sdkQuick    = "Hello from quick: 1 2 3 4 5"
	sdkThrifty  = "Hello from thrifty: 1 2 3 4 5"
	sdkCallArgs = `{"from":"quick"}`
)

func sdkChat(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")}}
}

func sdkTools() openai.ChatCompletionNewParams {
	p := sdkChat(sdkModel)
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "weather", Parameters: shared.FunctionParameters{"type": "object"},
	})}
	return p
}

var sdkResponse = responses.ResponseNewParams{Model: sdkModel, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hello")}}

var sdkCompletion = openai.CompletionNewParams{Model: sdkModel, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("hello")}}

// namedProvider is the field that names the provider; "" where there is none.
func namedProvider(extra map[string]respjson.Field) string {
	f, ok := extra["provider"]
	if !ok {
		return ""
	}
	var slug string
	if err := json.Unmarshal([]byte(f.Raw()), &slug); err != nil {
		return f.Raw()
	}
	return slug
}

// sdkEvents reads a stream to its end.
func sdkEvents[T any](g *goSDK, stream *ssestream.Stream[T]) (out []T) {
	g.Helper()
	for stream.Next() {
		out = append(out, stream.Current())
	}
	g.must(stream.Err())
	if len(out) == 0 {
		g.Fatal("the stream is empty")
	}
	return out
}

// namedOnce: the provider is on the first event and on no other.
func namedOnce[T any](g *goSDK, events []T, extra func(*T) map[string]respjson.Field) {
	g.Helper()
	for i := range events {
		want := ""
		if i == 0 {
			want = "quick"
		}
		sdkEqual(g, "provider of event "+strconv.Itoa(i), namedProvider(extra(&events[i])), want)
	}
}

func chunkExtra(c *openai.ChatCompletionChunk) map[string]respjson.Field { return c.JSON.ExtraFields }

func assembled(chunks []openai.ChatCompletionChunk) string {
	var out strings.Builder
	for i := range chunks {
		for _, c := range chunks[i].Choices {
			out.WriteString(c.Delta.Content)
		}
	}
	return out.String()
}

// served is a request that by must serve, after as many attempts.
func (g *goSDK) served(by string, attempts int, kind, model string, opts ...option.RequestOption) {
	g.Helper()
	var raw *http.Response
	c, err := g.Chat.Completions.New(g.Context(), sdkChat(model), append(opts, option.WithResponseInto(&raw))...)
	g.must(err)
	sdkEqual(g, "x-provider", raw.Header.Get("x-provider"), by)
	sdkEqual(g, "x-attempts", raw.Header.Get("x-attempts"), strconv.Itoa(attempts))
	sdkEqual(g, "provider", namedProvider(c.JSON.ExtraFields), by)
	sdkEqual(g, "content", c.Choices[0].Message.Content, "Hello from "+by+": 1 2 3 4 5")
	g.billed(billed{ID: raw.Header.Get("x-request-id"), Status: "completed", Kind: kind, Provider: by, Attempts: attempts, Usage: "reported"})
}

// apiError: err is the API's own error, not one of the connection.
func (g *goSDK) apiError(err error, status int, code, param string) *openai.Error {
	g.Helper()
	var api *openai.Error
	if !errors.As(err, &api) {
		g.Fatalf("error is %T: %v, want an API error", err, err)
	}
	sdkEqual(g, "status", api.StatusCode, status)
	sdkEqual(g, "code", api.Code, code)
	sdkEqual(g, "param", api.Param, param)
	if api.Message == "" || api.Response.Header.Get("x-request-id") == "" {
		g.Errorf("no message or request id: %s %v", api.RawJSON(), api.Response.Header)
	}
	return api
}

// refused: shunt did not admit the request.
func (g *goSDK) refused(err error, status int, code, param string) {
	g.Helper()
	api := g.apiError(err, status, code, param)
	sdkEqual(g, "type", api.Type, "invalid_request_error")
	g.billed(billed{ID: api.Response.Header.Get("x-request-id"), Status: notBilled})
}

// failed: both providers did.
func (g *goSDK) failed(err error, status int, code string) *openai.Error {
	g.Helper()
	api := g.apiError(err, status, code, "")
	sdkEqual(g, "x-attempts", api.Response.Header.Get("x-attempts"), "2")
	g.billed(billed{ID: api.Response.Header.Get("x-request-id"), Status: "failed", Attempts: 2})
	return api
}

// readUntilFailure is what a stream says before it breaks.
func (g *goSDK) readUntilFailure(model string) (chunks []openai.ChatCompletionChunk, err error) {
	g.Helper()
	stream := g.Chat.Completions.NewStreaming(g.Context(), sdkChat(model))
	for stream.Next() {
		chunks = append(chunks, stream.Current())
	}
	if stream.Err() == nil {
		g.Fatal("the broken stream looked complete")
	}
	return chunks, stream.Err()
}

// leave begins a stream without end and goes away after a few chunks.
func (g *goSDK) leave(goAway func(*ssestream.Stream[openai.ChatCompletionChunk], context.CancelFunc)) {
	g.Helper()
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	var raw *http.Response
	stream := g.Chat.Completions.NewStreaming(ctx, sdkChat("acme/endless"), option.WithResponseInto(&raw))
	for range 5 {
		if !stream.Next() {
			g.Fatalf("the stream ended: %v", stream.Err())
		}
	}
	goAway(stream, cancel)
	g.billed(billed{ID: raw.Header.Get("x-request-id"), Status: "cancelled", Provider: "quick", Usage: "estimated"})
}

// eventTypes are the types of events, without deltas of the text.
func eventTypes(events []responses.ResponseStreamEventUnion) []string {
	var out []string
	for i := range events {
		if events[i].Type != "response.output_text.delta" {
			out = append(out, events[i].Type)
		}
	}
	return out
}
