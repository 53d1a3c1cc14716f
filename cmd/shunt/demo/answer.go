package demo

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// answer is what a provider says, before it takes an API's shape.
type answer struct {
	number   int64 // of this provider's answers
	provider string
	model    string
	created  int64 // Unix seconds

	reasoning []string // words, each with the space before it
	text      []string
	call      string // the function to call in place of text; "": none
	cut       bool   // the request's token limit ended the text

	counts   *Counts // nil: usage is not reported
	streamed bool    // a stream reports it too
	usage    Usage
}

// event is one SSE event: a name (responses only) and a JSON value or "[DONE]".
type event struct {
	name string
	data []byte
	now  bool // sent without the gap of a generated token before it
}

// newAnswer writes the answer to in as b has it.
func newAnswer(provider string, number, created int64, in *input, b *Behaviour) *answer {
	tokens := b.Tokens
	if tokens == 0 {
		tokens = DefaultTokens
	}
	reasoning := b.Reasoning
	limit, limited := in.limit()
	a := &answer{
		number: number, provider: provider, model: in.Model, created: created,
		call: in.call(), usage: b.Usage,
		streamed: b.Usage.When == UsageAlways || in.StreamOptions.IncludeUsage,
	}
	if a.call != "" {
		tokens = len(callPieces(provider))
	} else if limited && reasoning+tokens > limit {
		reasoning = min(reasoning, limit)
		tokens, a.cut = limit-reasoning, true
	}
	a.reasoning = words("Thinking as", provider, reasoning)
	if a.call == "" {
		a.text = words("Hello from", provider, tokens)
		pad(a.text, b.Stream.EventBytes)
	}
	if b.Usage.When != UsageNever {
		a.counts = &Counts{Prompt: in.promptTokens(), Completion: reasoning + tokens, Reasoning: reasoning}
		if b.Usage.Counts != nil {
			a.counts = b.Usage.Counts
		}
	}
	return a
}

// words writes n words: the phrase, the provider, then numbers.
func words(phrase, provider string, n int) []string {
	first := strings.Fields(phrase + " " + provider + ":")
	out := make([]string, n)
	for i := range out {
		word := strconv.Itoa(i - len(first) + 1)
		if i < len(first) {
			word = first[i]
		}
		if i > 0 {
			word = " " + word
		}
		out[i] = word
	}
	return out
}

func pad(text []string, size int) {
	if len(text) > 0 && size > 0 {
		text[0] += strings.Repeat("x", size)
	}
}

// callPieces are a function call's arguments as they are streamed.
func callPieces(provider string) []string {
	name, _ := json.Marshal(provider)
	return []string{`{"from"`, `:`, string(name) + `}`}
}

func arguments(provider string) string { return strings.Join(callPieces(provider), "") }

// id is the answer's id, or that of a part of it.
func (a *answer) id(prefix string) string {
	return fmt.Sprintf("%s%s-%d", prefix, a.provider, a.number)
}

func (a *answer) content() string { return strings.Join(a.text, "") }

// upTo is the usage after n of the answer's words, for usage on every chunk.
func (c *Counts) upTo(n int) *Counts {
	part := *c
	part.Completion = min(n, c.Completion)
	part.Reasoning = min(n, c.Reasoning)
	return &part
}

func mustMarshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("demo: %T cannot be JSON: %v", v, err))
	}
	return slices.Clip(data)
}

// errorBody is the API's error shape.
type errorBody struct {
	Error apiError `json:"error"`
}

type apiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// errorFor is what providers say with this status.
func errorFor(status int) errorBody {
	known := map[int][3]string{ // message, type, code
		400: {"Invalid request.", "invalid_request_error", "invalid_request"},
		401: {"Incorrect API key provided.", "invalid_request_error", "invalid_api_key"},
		402: {"Insufficient credits.", "insufficient_quota", "insufficient_credits"},
		403: {"This key may not use this model.", "permission_error", "forbidden"},
		404: {"The model does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"},
		408: {"The request timed out.", "timeout_error", "timeout"},
		413: {"The request is too large.", "invalid_request_error", "request_too_large"},
		422: {"The request cannot be processed.", "invalid_request_error", "unprocessable_entity"},
		429: {"Rate limit reached.", "rate_limit_error", "rate_limit_exceeded"},
		503: {"The model is overloaded.", "server_error", "overloaded"},
	}
	e, ok := known[status]
	switch {
	case ok:
	case status < 500:
		e = [3]string{"The request was refused.", "invalid_request_error", strconv.Itoa(status)}
	default:
		e = [3]string{"The server had an error.", "server_error", "server_error"}
	}
	return errorBody{apiError{Message: e[0], Type: e[1], Code: &e[2]}}
}
