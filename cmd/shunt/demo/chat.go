package demo

import (
	"encoding/json"
	"strings"
)

// completion is an answer, or a chunk of one, of the chat and completions APIs.
type completion struct {
	ID          string          `json:"id"`
	Object      string          `json:"object"`
	Created     int64           `json:"created"`
	Model       string          `json:"model"`
	Fingerprint string          `json:"system_fingerprint"`
	Choices     []choice        `json:"choices"`
	Usage       json.RawMessage `json:"usage,omitempty"` // `null` is written, absence is not
}

type choice struct {
	Index        int      `json:"index"`
	Message      *message `json:"message,omitempty"`
	Delta        *message `json:"delta,omitempty"`
	Text         *string  `json:"text,omitempty"`
	Logprobs     *string  `json:"logprobs"` // always null
	FinishReason *string  `json:"finish_reason"`
}

type message struct {
	Role      string     `json:"role,omitempty"`
	Content   any        `json:"content,omitempty"` // a string, or null beside tool calls
	Reasoning string     `json:"reasoning_content,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type toolCall struct {
	Index    *int   `json:"index,omitempty"` // in chunks only
	ID       string `json:"id,omitempty"`
	Type     string `json:"type,omitempty"`
	Function struct {
		Name      string `json:"name,omitempty"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

type chatUsage struct {
	Prompt        int `json:"prompt_tokens"`
	Completion    int `json:"completion_tokens"`
	Total         int `json:"total_tokens"`
	PromptDetails struct {
		Cached     int `json:"cached_tokens"`
		CacheWrite int `json:"cache_write_tokens,omitempty"`
	} `json:"prompt_tokens_details"`
	CompletionDetails struct {
		Reasoning int `json:"reasoning_tokens"`
	} `json:"completion_tokens_details"`
}

var null = json.RawMessage("null")

func (c *Counts) chat() json.RawMessage {
	if c == nil {
		return nil
	}
	u := chatUsage{Prompt: c.Prompt, Completion: c.Completion, Total: c.Prompt + c.Completion}
	u.PromptDetails.Cached, u.PromptDetails.CacheWrite = c.Cached, c.CacheWrite
	u.CompletionDetails.Reasoning = c.Reasoning
	return mustMarshal(u)
}

func (a *answer) completion(object string, choices ...choice) *completion {
	prefix := "chatcmpl-"
	if object == "text_completion" {
		prefix = "cmpl-"
	}
	return &completion{
		ID: a.id(prefix), Object: object, Created: a.created, Model: a.model,
		Fingerprint: "demo-" + a.provider, Choices: choices,
	}
}

func (a *answer) finishReason() *string {
	reason := "stop"
	switch {
	case a.call != "":
		reason = "tool_calls"
	case a.cut:
		reason = "length"
	}
	return &reason
}

func (a *answer) toolCall(arguments string) toolCall {
	call := toolCall{ID: a.id("call_"), Type: "function"}
	call.Function.Name, call.Function.Arguments = a.call, arguments
	return call
}

// chatBody is the JSON answer of /chat/completions.
func (a *answer) chatBody() any {
	m := &message{Role: "assistant", Content: a.content(), Reasoning: strings.Join(a.reasoning, "")}
	if a.call != "" {
		m.Content, m.ToolCalls = null, []toolCall{a.toolCall(arguments(a.provider))}
	}
	c := a.completion("chat.completion", choice{Message: m, FinishReason: a.finishReason()})
	c.Usage = a.counts.chat()
	return c
}

// textBody is the JSON answer of /completions.
func (a *answer) textBody() any {
	text := a.content()
	c := a.completion("text_completion", choice{Text: &text, FinishReason: a.finishReason()})
	c.Usage = a.counts.chat()
	return c
}

// chatEvents are the chunks of a /chat/completions stream.
func (a *answer) chatEvents() []event {
	const object = "chat.completion.chunk"
	s := chunks{a: a, object: object, report: a.streamed && a.counts != nil}
	delta := func(m message) choice { return choice{Delta: &m} }
	first := message{Role: "assistant", Content: ""}
	if a.call != "" {
		first.Content = null
	}
	s.add(delta(first), 0)
	for _, word := range a.reasoning {
		s.add(delta(message{Reasoning: word}), 1)
	}
	for _, word := range a.text {
		s.add(delta(message{Content: word}), 1)
	}
	if a.call != "" {
		for i, piece := range append([]string{""}, callPieces(a.provider)...) {
			call := toolCall{Index: new(int)}
			if i == 0 {
				call = a.toolCall("")
				call.Index = new(int)
			}
			call.Function.Arguments = piece
			s.add(delta(message{ToolCalls: []toolCall{call}}), min(i, 1))
		}
	}
	s.end(choice{Delta: &message{}})
	return s.events
}

// textEvents are the chunks of a /completions stream.
func (a *answer) textEvents() []event {
	s := chunks{a: a, object: "text_completion", report: a.streamed && a.counts != nil}
	for _, word := range a.text {
		s.add(choice{Text: &word}, 1)
	}
	s.end(choice{Text: new(string)})
	return s.events
}

// chunks collects the chunks of a stream and puts usage where it belongs.
type chunks struct {
	a      *answer
	object string
	report bool
	words  int // sent so far
	events []event
}

// add appends a chunk with as many new words, 0 or 1.
func (s *chunks) add(c choice, words int) {
	s.words += words
	chunk := s.a.completion(s.object, c)
	switch {
	case s.report && s.a.usage.Where == UsageOnEvery:
		chunk.Usage = s.a.counts.upTo(s.words).chat()
	case s.report && s.a.usage.Null:
		chunk.Usage = null
	}
	s.events = append(s.events, event{data: mustMarshal(chunk), now: words == 0})
}

// end appends the chunk with the finish reason, and the one with usage.
func (s *chunks) end(c choice) {
	c.FinishReason = s.a.finishReason()
	chunk := s.a.completion(s.object, c)
	switch {
	case !s.report:
	case s.a.usage.Where != UsageOwnChunk:
		chunk.Usage = s.a.counts.chat()
	case s.a.usage.Null:
		chunk.Usage = null
	}
	s.events = append(s.events, event{data: mustMarshal(chunk), now: true})
	if s.report && s.a.usage.Where == UsageOwnChunk {
		own := s.a.completion(s.object)
		own.Choices, own.Usage = []choice{}, s.a.counts.chat()
		s.events = append(s.events, event{data: mustMarshal(own), now: true})
	}
}
