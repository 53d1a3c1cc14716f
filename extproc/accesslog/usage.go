package accesslog

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	aiv3 "github.com/envoyproxy/go-control-plane/envoy/data/ai/v3"
	"github.com/tidwall/gjson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// usageOf is what Envoy read of the provider's usage, or what stood in the tail: a
// last SSE line without a newline, which Envoy's reader does not see. The tail is
// newer where there are both.
func usageOf(m *corev3.Metadata) (billing.Usage, error) {
	if tail := m.GetFilterMetadata()[names.Namespace].GetFields()[names.KeyTail].GetStringValue(); tail != "" {
		if u := tailUsage(tail); u.Prompt.Known && u.Completion.Known {
			return u, nil
		}
	}
	typed := m.GetTypedFilterMetadata()[names.UsageNamespace]
	if typed == nil {
		return billing.Usage{}, nil
	}
	var t aiv3.TokenUsage
	if err := typed.UnmarshalTo(&t); err != nil {
		return billing.Usage{}, fmt.Errorf("%s: %w", names.UsageNamespace, err)
	}
	// input_tokens and output_tokens are inclusive, as billing.Usage is. Of what
	// FAILED left, nothing is set; PARTIAL counts are the last ones seen.
	return billing.Usage{
		Prompt:     count(t.GetInputTokens()),
		Completion: count(t.GetOutputTokens()),
		CacheRead:  count(t.GetInputTokenDetails().GetCachedTokens()),
		CacheWrite: count(t.GetInputTokenDetails().GetCacheCreationTokens()),
		Reasoning:  count(t.GetOutputTokenDetails().GetReasoningTokens()),
	}, nil
}

func count(v *wrapperspb.UInt64Value) billing.Int {
	if v == nil {
		return billing.Int{}
	}
	return billing.Known(int64(min(v.GetValue(), math.MaxInt64)))
}

// tailUsage reads the usage of a chat chunk, or of a response.completed event.
func tailUsage(line string) billing.Usage {
	data, ok := strings.CutPrefix(strings.TrimSpace(line), "data:")
	if !ok || !gjson.Valid(data) {
		return billing.Usage{}
	}
	u := gjson.Get(data, "usage")
	if !u.IsObject() {
		u = gjson.Get(data, "response.usage")
	}
	return billing.Usage{
		Prompt:     whole(u, "prompt_tokens", "input_tokens"),
		Completion: whole(u, "completion_tokens", "output_tokens"),
		CacheRead:  whole(u, "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens"),
		CacheWrite: whole(u, "prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens"),
		Reasoning:  whole(u, "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens"),
	}
}

// whole is the first of the paths that holds a whole number.
func whole(u gjson.Result, paths ...string) billing.Int {
	for _, p := range paths {
		if v := u.Get(p); v.Type == gjson.Number {
			if n, err := strconv.ParseInt(v.Raw, 10, 64); err == nil {
				return billing.Known(n)
			}
		}
	}
	return billing.Int{}
}
