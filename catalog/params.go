package catalog

import "math/bits"

// ParamSet is a set of capability-checked request parameters (SEL-7).
type ParamSet uint64

// checkedParams are the parameters that require_parameters looks at; a name's
// index is its bit. Add new ones at the end.
var checkedParams = [...]string{
	"tools", "tool_choice", "parallel_tool_calls", "response_format", "structured_outputs",
	"logprobs", "top_logprobs", "logit_bias", "seed", "stop",
	"reasoning", "reasoning_effort", "include_reasoning", "verbosity", "web_search_options",
	"prediction", "modalities", "audio", "top_k", "min_p", "top_a", "repetition_penalty",
}

// uncheckedParams are parameters that every provider is taken to understand. An
// offer may list them, as models' own descriptions do, without effect.
var uncheckedParams = []string{
	"messages", "input", "instructions", "prompt", "suffix", "echo", "best_of", "n", "stream", "stream_options",
	"temperature", "top_p", "max_tokens", "max_completion_tokens", "max_output_tokens",
	"frequency_penalty", "presence_penalty", "user", "metadata", "store", "service_tier", "safety_identifier",
	"prompt_cache_key", "prompt_cache_retention", "truncation", "previous_response_id", "conversation", "include",
	"background", "text", "max_tool_calls", "functions", "function_call",
}

var paramBits = func() map[string]ParamSet {
	m := make(map[string]ParamSet, len(checkedParams)+len(uncheckedParams))
	for _, name := range uncheckedParams {
		m[name] = 0
	}
	for i, name := range checkedParams {
		m[name] = 1 << i
	}
	return m
}()

// Param returns the set of one capability-checked parameter; ok is false for any
// other name. It does not allocate.
func Param(name string) (set ParamSet, ok bool) {
	set = paramBits[name]
	return set, set != 0
}

// ParamBytes is Param for bytes. It does not allocate.
func ParamBytes(name []byte) (set ParamSet, ok bool) {
	set = paramBits[string(name)]
	return set, set != 0
}

// Has reports whether all of t is in the set.
func (s ParamSet) Has(t ParamSet) bool { return s&t == t }

// With returns the set with t added.
func (s ParamSet) With(t ParamSet) ParamSet { return s | t }

// Without returns what is in the set and not in t: for the parameters of a
// request and an offer, what the offer lacks.
func (s ParamSet) Without(t ParamSet) ParamSet { return s &^ t }

// Names lists the parameters in the set, in the schema's order.
func (s ParamSet) Names() []string {
	var names []string
	for s &= 1<<len(checkedParams) - 1; s != 0; s &= s - 1 {
		names = append(names, checkedParams[bits.TrailingZeros64(uint64(s))])
	}
	return names
}

// CheckedParams is the set of all capability-checked parameters.
const CheckedParams = ParamSet(1<<len(checkedParams) - 1)
