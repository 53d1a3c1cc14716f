package e2e

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/respjson"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
)

func (g *goSDK) chat() {
	c, err := g.Chat.Completions.New(g.Context(), sdkChat(sdkModel))
	g.must(err)
	sdkEqual(g, "finish_reason", c.Choices[0].FinishReason, "stop")
	sdkEqual(g, "completion_tokens", c.Usage.CompletionTokens, 8)
	g.served("quick", 1, "default", sdkModel)
}

func (g *goSDK) chatStream() {
	var raw *http.Response
	chunks := sdkEvents(g, g.Chat.Completions.NewStreaming(g.Context(), sdkChat(sdkModel), option.WithResponseInto(&raw)))
	sdkEqual(g, "content", assembled(chunks), sdkQuick)
	for i := range chunks {
		if chunks[i].Usage.TotalTokens != 0 || len(chunks[i].Choices) == 0 {
			g.Errorf("usage that was not asked for: %s", chunks[i].RawJSON())
		}
	}
	namedOnce(g, chunks, chunkExtra)
	g.billed(billed{ID: raw.Header.Get("x-request-id"), Status: "completed", Provider: "quick", Usage: "reported"})
}

func (g *goSDK) chatStreamUsage() {
	p := sdkChat(sdkModel)
	p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	chunks := sdkEvents(g, g.Chat.Completions.NewStreaming(g.Context(), p))
	sum := openai.ChatCompletionAccumulator{}
	for i := range chunks {
		if !sum.AddChunk(chunks[i]) {
			g.Errorf("does not fit: %s", chunks[i].RawJSON())
		}
		sdkEqual(g, "usage on chunk "+strconv.Itoa(i), chunks[i].Usage.TotalTokens != 0, i == len(chunks)-1)
	}
	sdkEqual(g, "content", sum.Choices[0].Message.Content, sdkQuick)
	sdkEqual(g, "completion_tokens", sum.Usage.CompletionTokens, 8)
	sdkEqual(g, "choices of the last", len(chunks[len(chunks)-1].Choices), 0)
	namedOnce(g, chunks, chunkExtra)
}

func (g *goSDK) tools() {
	p := sdkTools()
	c, err := g.Chat.Completions.New(g.Context(), p)
	g.must(err)
	call := c.Choices[0].Message.ToolCalls[0]
	sdkEqual(g, "name", call.Function.Name, "weather")
	sdkEqual(g, "arguments", call.Function.Arguments, sdkCallArgs)
	p.Messages = append(p.Messages, c.Choices[0].Message.ToParam(), openai.ToolMessage("sun", call.ID))
	c, err = g.Chat.Completions.New(g.Context(), p)
	g.must(err)
	sdkEqual(g, "content", c.Choices[0].Message.Content, sdkQuick)
}

func (g *goSDK) toolsStream() {
	sum, finished := openai.ChatCompletionAccumulator{}, 0
	for _, chunk := range sdkEvents(g, g.Chat.Completions.NewStreaming(g.Context(), sdkTools())) {
		sum.AddChunk(chunk)
		if call, ok := sum.JustFinishedToolCall(); ok {
			finished++
			sdkEqual(g, "name", call.Name, "weather")
			sdkEqual(g, "arguments", call.Arguments, sdkCallArgs)
		}
	}
	sdkEqual(g, "finished calls", finished, 1)
	sdkEqual(g, "finish_reason", sum.Choices[0].FinishReason, "tool_calls")
}

func (g *goSDK) responses() {
	var raw *http.Response
	r, err := g.Responses.New(g.Context(), sdkResponse, option.WithResponseInto(&raw))
	g.must(err)
	sdkEqual(g, "output_text", r.OutputText(), sdkQuick)
	sdkEqual(g, "status", r.Status, responses.ResponseStatusCompleted)
	sdkEqual(g, "output_tokens", r.Usage.OutputTokens, 8)
	sdkEqual(g, "provider", namedProvider(r.JSON.ExtraFields), "quick")
	g.billed(billed{ID: raw.Header.Get("x-request-id"), Status: "completed", Provider: "quick", Usage: "reported"})
}

func (g *goSDK) responsesStream() {
	events := sdkEvents(g, g.Responses.NewStreaming(g.Context(), sdkResponse))
	want := []string{
		"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
		"response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed",
	}
	if got := eventTypes(events); !slices.Equal(got, want) {
		g.Errorf("types are %q, want %q", got, want)
	}
	text := ""
	for i := range events {
		sdkEqual(g, "sequence number", events[i].SequenceNumber, int64(i))
		if delta, ok := events[i].AsAny().(responses.ResponseTextDeltaEvent); ok {
			text += delta.Delta
		}
	}
	sdkEqual(g, "text", text, sdkQuick)
	done := events[len(events)-1].AsResponseCompleted().Response
	sdkEqual(g, "output_text", done.OutputText(), sdkQuick)
	sdkEqual(g, "output_tokens", done.Usage.OutputTokens, 8)
	sdkEqual(g, "provider", namedProvider(events[0].AsResponseCreated().JSON.ExtraFields), "quick")
	for i := range events[1:] {
		sdkEqual(g, "provider of a later event", strings.Contains(events[i+1].RawJSON(), `"provider"`), false)
	}
}

func (g *goSDK) completions() {
	c, err := g.Completions.New(g.Context(), sdkCompletion)
	g.must(err)
	sdkEqual(g, "text", c.Choices[0].Text, sdkQuick)
	sdkEqual(g, "provider", namedProvider(c.JSON.ExtraFields), "quick")
}

func (g *goSDK) completionsStream() {
	chunks, text := sdkEvents(g, g.Completions.NewStreaming(g.Context(), sdkCompletion)), ""
	for i := range chunks {
		sdkEqual(g, "usage", chunks[i].Usage.TotalTokens, 0)
		text += chunks[i].Choices[0].Text
	}
	sdkEqual(g, "text", text, sdkQuick)
	namedOnce(g, chunks, func(c *openai.Completion) map[string]respjson.Field { return c.JSON.ExtraFields })
}

func (g *goSDK) modelsList() {
	page, err := g.Models.List(g.Context())
	g.must(err)
	i := slices.IndexFunc(page.Data, func(m openai.Model) bool { return m.ID == sdkModel })
	if i < 0 {
		g.Fatalf("%s is not in %s", sdkModel, page.RawJSON())
	}
	sdkEqual(g, "providers", page.Data[i].JSON.ExtraFields["providers"].Raw(), `["thrifty","quick"]`)
}

func (g *goSDK) modelsRetrieve() {
	m, err := g.Models.Get(g.Context(), sdkModel)
	g.must(err)
	sdkEqual(g, "id", m.ID, sdkModel)
	sdkEqual(g, "providers", m.JSON.ExtraFields["providers"].Raw(), `["thrifty","quick"]`)
	_, err = g.Models.Get(g.Context(), "acme/nothing")
	g.refused(err, http.StatusNotFound, "model_not_found", "model")
}

func (g *goSDK) apiV1Base() {
	other := g.at("/api/v1")
	c, err := other.Chat.Completions.New(g.Context(), sdkChat(sdkModel))
	g.must(err)
	sdkEqual(g, "content", c.Choices[0].Message.Content, sdkQuick)
	r, err := other.Responses.New(g.Context(), sdkResponse)
	g.must(err)
	sdkEqual(g, "output_text", r.OutputText(), sdkQuick)
	m, err := other.Models.Get(g.Context(), sdkModel)
	g.must(err)
	sdkEqual(g, "id", m.ID, sdkModel)
}

func (g *goSDK) rawResponse() {
	g.served("quick", 1, "default", sdkModel)
	var raw *http.Response
	sdkEqual(g, "content", assembled(sdkEvents(g, g.Chat.Completions.NewStreaming(g.Context(), sdkChat(sdkModel), option.WithResponseInto(&raw)))), sdkQuick)
	sdkEqual(g, "x-provider", raw.Header.Get("x-provider"), "quick")
	sdkEqual(g, "x-attempts", raw.Header.Get("x-attempts"), "1")
	sdkEqual(g, "has x-request-id", raw.Header.Get("x-request-id") != "", true)
	for name := range raw.Header {
		if strings.HasPrefix(name, "X-Shunt-") || strings.HasPrefix(name, "X-Envoy-") {
			g.Errorf("SEC-1: the client sees %s", name)
		}
	}
}

func (g *goSDK) providerObject() {
	g.served("thrifty", 1, "explicit", sdkModel, option.WithJSONSet("provider", map[string]any{"order": []string{"thrifty"}}))
	g.served("thrifty", 1, "explicit", sdkModel, option.WithJSONSet("provider", "thrifty"))
	_, err := g.Chat.Completions.New(g.Context(), sdkChat(sdkModel), option.WithJSONSet("provider.max_price.prompt", "low"))
	g.refused(err, http.StatusBadRequest, "invalid_provider_object", "provider.max_price.prompt")
}

func (g *goSDK) providerHeader() {
	g.served("thrifty", 1, "explicit", sdkModel, option.WithHeader("X-Provider", "Thrifty"))
}

func (g *goSDK) modelSuffix() {
	g.served("thrifty", 1, "suffix", sdkModel+":floor")
	g.served("thrifty", 1, "explicit", "thrifty/"+sdkModel)
}

func (g *goSDK) badRequest() {
	nobody := option.WithHeader("X-Provider", "nobody")
	_, err := g.Chat.Completions.New(g.Context(), sdkChat(sdkModel), nobody)
	g.refused(err, http.StatusBadRequest, "provider_unknown_provider", "X-Provider")
	err = g.Chat.Completions.NewStreaming(g.Context(), sdkChat(sdkModel), nobody).Err()
	g.refused(err, http.StatusBadRequest, "provider_unknown_provider", "X-Provider")
	_, err = g.Responses.New(g.Context(), sdkResponse, option.WithJSONSet("provider.only", []string{"nobody"}))
	g.refused(err, http.StatusBadRequest, "provider_unknown_provider", "provider.only")
}

func (g *goSDK) unknownModel() {
	_, err := g.Chat.Completions.New(g.Context(), sdkChat("acme/nothing"))
	g.refused(err, http.StatusNotFound, "model_not_found", "model")
}

func (g *goSDK) rateLimit() {
	_, err := g.Chat.Completions.New(g.Context(), sdkChat("acme/limited"))
	sdkEqual(g, "type", g.failed(err, http.StatusTooManyRequests, "rate_limit_exceeded").Type, "rate_limit_error")
}

func (g *goSDK) providerRefused() {
	_, err := g.Chat.Completions.New(g.Context(), sdkChat("acme/refused"))
	api := g.failed(err, http.StatusBadGateway, "provider_error")
	if !strings.Contains(api.Message, "thrifty") || strings.Contains(api.Message, "API key") {
		g.Errorf("message %q, want the provider's name and none of its words", api.Message)
	}
}

func (g *goSDK) noProvider() {
	_, err := g.Chat.Completions.New(g.Context(), sdkChat("acme/dead"))
	_ = g.failed(err, http.StatusBadGateway, "all_providers_failed")
	err = g.Chat.Completions.NewStreaming(g.Context(), sdkChat("acme/dead")).Err()
	_ = g.failed(err, http.StatusBadGateway, "all_providers_failed")
}

func (g *goSDK) otherAPI() {
	_, err := g.Embeddings.New(g.Context(), openai.EmbeddingNewParams{
		Model: sdkModel, Input: openai.EmbeddingNewParamsInputUnion{OfString: openai.String("hello")},
	})
	g.refused(err, http.StatusNotFound, "not_found", "")
	_, err = g.Responses.Get(g.Context(), "resp_1", responses.ResponseGetParams{})
	g.refused(err, http.StatusNotFound, "not_found", "")
}

func (g *goSDK) failover() {
	g.served("thrifty", 2, "default", "acme/flaky")
	chunks := sdkEvents(g, g.Chat.Completions.NewStreaming(g.Context(), sdkChat("acme/flaky")))
	sdkEqual(g, "content", assembled(chunks), sdkThrifty)
	sdkEqual(g, "provider", namedProvider(chunks[0].JSON.ExtraFields), "thrifty")
}

func (g *goSDK) concurrent() {
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			if n%2 == 1 {
				stream, text := g.Chat.Completions.NewStreaming(g.Context(), sdkChat(sdkModel)), ""
				for stream.Next() {
					text += assembled([]openai.ChatCompletionChunk{stream.Current()})
				}
				sdkEqual(g, "error", stream.Err(), nil)
				sdkEqual(g, "content", text, sdkQuick)
				return
			}
			c, err := g.Chat.Completions.New(g.Context(), sdkChat(sdkModel))
			if err != nil || len(c.Choices) == 0 {
				g.Errorf("%v, %+v", err, c)
				return
			}
			sdkEqual(g, "content", c.Choices[0].Message.Content, sdkQuick)
		})
	}
	wg.Wait()
}

func (g *goSDK) streamError() {
	_, err := g.readUntilFailure("acme/broken")
	if !strings.Contains(err.Error(), "The server had an error.") {
		g.Errorf("the provider's words are not in %v", err)
	}
}

func (g *goSDK) streamCut() {
	chunks, _ := g.readUntilFailure("acme/cut")
	sdkEqual(g, "content", assembled(chunks), "Hello from")
}

func (g *goSDK) abort() {
	g.leave(func(s *ssestream.Stream[openai.ChatCompletionChunk], _ context.CancelFunc) { _ = s.Close() })
	g.leave(func(_ *ssestream.Stream[openai.ChatCompletionChunk], cancel context.CancelFunc) { cancel() })
}

func (g *goSDK) timeout() {
	_, err := g.Chat.Completions.New(g.Context(), sdkChat("hang-go"), option.WithRequestTimeout(3*time.Second))
	if !errors.Is(err, context.DeadlineExceeded) {
		g.Errorf("error is %T: %v, want one of the deadline", err, err)
	}
	g.billed(billed{RequestedModel: "hang-go", Status: "cancelled"})
}
