package demo_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// What the official SDK makes of the answers.

func sdk(t *testing.T, b demo.Behaviour) (context.Context, openai.Client) {
	t.Helper()
	h := start(t, demo.Config{APIKey: "key", Behaviour: b})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx, openai.NewClient(option.WithBaseURL(h.url), option.WithAPIKey("key"),
		option.WithHTTPClient(h.client), option.WithMaxRetries(0))
}

var chatParams = openai.ChatCompletionNewParams{
	Model:         "m",
	Messages:      []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")},
	StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
}

func withTools(p openai.ChatCompletionNewParams) openai.ChatCompletionNewParams {
	p.Tools = []openai.ChatCompletionToolUnionParam{
		openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "look"}),
	}
	return p
}

const says = "Hello from novita: 1 2 3 4 5"

func TestSDKChat(t *testing.T) {
	ctx, client := sdk(t, demo.Behaviour{})
	got, err := client.Chat.Completions.New(ctx, chatParams)
	if err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Message.Content != says || got.Usage.CompletionTokens != 8 {
		t.Errorf("%s", got.RawJSON())
	}
	got, err = client.Chat.Completions.New(ctx, withTools(chatParams))
	if err != nil {
		t.Fatal(err)
	}
	call := got.Choices[0].Message.ToolCalls[0]
	if call.Function.Name != "look" || call.Function.Arguments != `{"from":"novita"}` || call.ID == "" {
		t.Errorf("%s", got.RawJSON())
	}
}

func TestSDKChatStream(t *testing.T) {
	for name, b := range map[string]demo.Behaviour{
		"plain":    {Reasoning: 2},
		"CRLF":     {Stream: demo.Stream{CRLF: true}},
		"comments": {Stream: demo.Stream{Comment: "ping"}},
		"split":    {Stream: demo.Stream{SplitAt: []int{3, 30}}},
		"packets":  {Stream: demo.Stream{PerPacket: 5}},
		"null":     {Usage: demo.Usage{Null: true}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, client := sdk(t, b)
			stream := client.Chat.Completions.NewStreaming(ctx, chatParams)
			sum := openai.ChatCompletionAccumulator{}
			for stream.Next() {
				if !sum.AddChunk(stream.Current()) {
					t.Fatalf("does not fit: %s", stream.Current().RawJSON())
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			if sum.Choices[0].Message.Content != says || sum.Usage.CompletionTokens != int64(8+b.Reasoning) {
				t.Errorf("%+v", sum)
			}
		})
	}
}

func TestSDKChatStreamTools(t *testing.T) {
	ctx, client := sdk(t, demo.Behaviour{})
	stream := client.Chat.Completions.NewStreaming(ctx, withTools(chatParams))
	sum := openai.ChatCompletionAccumulator{}
	for stream.Next() {
		sum.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if c := sum.Choices[0]; c.FinishReason != "tool_calls" || c.Message.ToolCalls[0].Function.Name != "look" ||
		c.Message.ToolCalls[0].Function.Arguments != `{"from":"novita"}` {
		t.Errorf("%+v", c)
	}
}

func TestSDKErrorEvent(t *testing.T) {
	ctx, client := sdk(t, demo.Behaviour{Fault: demo.FaultError, FaultAfter: 2})
	stream := client.Chat.Completions.NewStreaming(ctx, chatParams)
	for stream.Next() {
	}
	if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "The server had an error.") {
		t.Errorf("%v", err)
	}
}

func TestSDKCompletions(t *testing.T) {
	ctx, client := sdk(t, demo.Behaviour{})
	params := openai.CompletionNewParams{Model: "m", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("hi")}}
	got, err := client.Completions.New(ctx, params)
	if err != nil || got.Choices[0].Text != says {
		t.Fatalf("%v %+v", err, got)
	}
	stream, text := client.Completions.NewStreaming(ctx, params), ""
	for stream.Next() {
		text += stream.Current().Choices[0].Text
	}
	if err := stream.Err(); err != nil || text != says {
		t.Errorf("%v %q", err, text)
	}
}

func TestSDKModels(t *testing.T) {
	h := start(t, demo.Config{Models: []string{"a/b", "c"}})
	client := openai.NewClient(option.WithBaseURL(h.url), option.WithAPIKey("any"), option.WithHTTPClient(h.client))
	page, err := client.Models.List(t.Context())
	if err != nil || len(page.Data) != 2 || page.Data[0].ID != "a/b" || page.Data[0].OwnedBy != "novita" {
		t.Errorf("%v %+v", err, page)
	}
}

var responseParams = responses.ResponseNewParams{
	Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")},
}

func TestSDKResponses(t *testing.T) {
	ctx, client := sdk(t, demo.Behaviour{Reasoning: 2, Usage: demo.Usage{Counts: &demo.Counts{
		Prompt: 9, Completion: 8, Cached: 4, CacheWrite: 1, Reasoning: 2,
	}}})
	got, err := client.Responses.New(ctx, responseParams)
	if err != nil {
		t.Fatal(err)
	}
	u := got.Usage
	if got.OutputText() != says || got.Status != "completed" || u.InputTokens != 9 || u.OutputTokens != 8 || u.TotalTokens != 17 ||
		u.InputTokensDetails.CachedTokens != 4 || u.InputTokensDetails.CacheWriteTokens != 1 || u.OutputTokensDetails.ReasoningTokens != 2 {
		t.Errorf("%s", got.RawJSON())
	}
	cut := responseParams
	cut.MaxOutputTokens = openai.Int(3)
	got, err = client.Responses.New(ctx, cut)
	if err != nil || got.Status != "incomplete" || got.IncompleteDetails.Reason != "max_output_tokens" {
		t.Errorf("%v %s", err, got.RawJSON())
	}
}

func TestSDKResponsesStream(t *testing.T) {
	ctx, client := sdk(t, demo.Behaviour{Tokens: 2, Reasoning: 1})
	withTool := responseParams
	withTool.Tools = []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{Name: "look"}}}
	const begin = "response.created response.in_progress response.output_item.added response.reasoning_summary_part.added " +
		"response.reasoning_summary_text.delta response.reasoning_summary_text.done response.reasoning_summary_part.done " +
		"response.output_item.done response.output_item.added "
	for name, c := range map[string]struct {
		params responses.ResponseNewParams
		want   string
	}{
		"text": {responseParams, "response.content_part.added response.output_text.delta response.output_text.delta " +
			"response.output_text.done response.content_part.done"},
		"tool": {withTool, strings.Repeat("response.function_call_arguments.delta ", 3) + "response.function_call_arguments.done"},
	} {
		stream, types, text := client.Responses.NewStreaming(ctx, c.params), []string{}, ""
		var last responses.ResponseStreamEventUnion
		for stream.Next() {
			last = stream.Current()
			if last.SequenceNumber != int64(len(types)) {
				t.Errorf("%s: sequence number of %s", name, last.RawJSON())
			}
			types = append(types, last.Type)
			switch e := last.AsAny().(type) {
			case responses.ResponseTextDeltaEvent:
				text += e.Delta
			case responses.ResponseFunctionCallArgumentsDoneEvent:
				text += e.Arguments
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		want := begin + c.want + " response.output_item.done response.completed"
		if got := strings.Join(types, " "); got != want {
			t.Errorf("%s:\n%s, want\n%s", name, got, want)
		}
		done := last.AsResponseCompleted().Response
		if done.Usage.TotalTokens == 0 || len(done.Output) != 2 {
			t.Errorf("%s: %s", name, last.RawJSON())
		}
		if name == "text" && (text != "Hello from" || done.OutputText() != text) || name == "tool" && text != `{"from":"novita"}` {
			t.Errorf("%s: %q", name, text)
		}
	}
}
