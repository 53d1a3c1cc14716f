package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// api is one of the request formats, named by the end of its path.
type api string

const (
	apiChat        api = "/chat/completions"
	apiCompletions api = "/completions"
	apiResponses   api = "/responses"
)

// apiOf splits a path into the API's base and the API.
func apiOf(path string) (base string, of api, ok bool) {
	for _, of := range []api{apiChat, apiCompletions, apiResponses} { // chat before its suffix
		if base, ok := strings.CutSuffix(path, string(of)); ok {
			return base, of, true
		}
	}
	return "", "", false
}

// input is what a request asks for.
type input struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	MaxTokens           *int `json:"max_tokens"`
	MaxCompletionTokens *int `json:"max_completion_tokens"`
	MaxOutputTokens     *int `json:"max_output_tokens"`

	Tools      []tool          `json:"tools"`
	ToolChoice json.RawMessage `json:"tool_choice"`

	Messages json.RawMessage `json:"messages"`
	Prompt   json.RawMessage `json:"prompt"`
	Input    json.RawMessage `json:"input"`
}

// tool is a function, in the shape of chat or, flat, of responses.
type tool struct {
	Type     string `json:"type"`
	Name     string `json:"name"`
	Function struct {
		Name string `json:"name"`
	} `json:"function"`
}

func (t tool) name() string {
	if t.Name != "" {
		return t.Name
	}
	return t.Function.Name
}

func readInput(body []byte) (*input, error) {
	in := &input{}
	if err := json.Unmarshal(body, in); err != nil {
		return nil, fmt.Errorf("could not parse the JSON body: %w", err)
	}
	if in.Model == "" {
		return nil, errors.New("you must provide a model parameter")
	}
	return in, nil
}

// promptTokens is a token for four bytes of what the model would read.
func (in *input) promptTokens() int {
	return (len(in.Messages) + len(in.Prompt) + len(in.Input) + 3) / 4
}

// limit is the least of the request's limits on the answer; ok is false without one.
func (in *input) limit() (limit int, ok bool) {
	for _, v := range []*int{in.MaxTokens, in.MaxCompletionTokens, in.MaxOutputTokens} {
		if v != nil && (!ok || *v < limit) {
			limit, ok = max(*v, 0), true
		}
	}
	return limit, ok
}

// call names the function to call, "" for none: the one that tool_choice names,
// else the first. A request that ends with a function's result wants words.
func (in *input) call() string {
	var choice tool
	if len(in.Tools) == 0 || string(in.ToolChoice) == `"none"` || in.endsWithToolResult() {
		return ""
	}
	if json.Unmarshal(in.ToolChoice, &choice) == nil && choice.name() != "" {
		return choice.name()
	}
	for _, t := range in.Tools {
		if t.Type == "function" {
			return t.name()
		}
	}
	return ""
}

func (in *input) endsWithToolResult() bool {
	var turns []struct {
		Role string `json:"role"`
		Type string `json:"type"`
	}
	for _, raw := range []json.RawMessage{in.Messages, in.Input} {
		if json.Unmarshal(raw, &turns) == nil && len(turns) > 0 {
			last := turns[len(turns)-1]
			return last.Role == "tool" || last.Type == "function_call_output"
		}
	}
	return false
}
