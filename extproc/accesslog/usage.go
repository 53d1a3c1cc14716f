package accesslog

import (
	"fmt"
	"math"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// usageOf reads the usage object of a provider's answer, as it stood there: "" where
// there was none. Counts of the prompt and of the completion include their parts, as
// billing.Usage does.
func usageOf(object string) (billing.Usage, error) {
	if object == "" {
		return billing.Usage{}, nil
	}
	if !gjson.Valid(object) {
		return billing.Usage{}, fmt.Errorf("usage %.200q is not JSON", object)
	}
	u := gjson.Parse(object)
	return billing.Usage{
		Prompt:     count(u, "prompt_tokens", "input_tokens"),
		Completion: count(u, "completion_tokens", "output_tokens"),
		CacheRead:  count(u, cacheReads...),
		CacheWrite: count(u, cacheWrites...),
		Reasoning:  count(u, "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "reasoning_tokens"),
	}, nil
}

// What providers call the part of the prompt that came from their cache, and the part
// that went into it: OpenAI's two APIs first, then what others add to these.
var (
	cacheReads = []string{
		"prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens",
		"prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens",
	}
	cacheWrites = []string{
		"prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens",
		"prompt_tokens_details.cache_creation_tokens", "input_tokens_details.cache_creation_tokens",
		"cache_creation_input_tokens",
	}
)

// count is the first of the paths that holds a count.
func count(u gjson.Result, paths ...string) billing.Int {
	for _, p := range paths {
		if n, ok := wholeNumber(u.Get(p)); ok {
			return billing.Known(n)
		}
	}
	return billing.Int{}
}

// wholeNumber reads a number from 0 up that has no fraction, however it is spelt.
func wholeNumber(v gjson.Result) (n int64, ok bool) {
	if v.Type != gjson.Number {
		return 0, false
	}
	if n, err := strconv.ParseInt(v.Raw, 10, 64); err == nil {
		return n, n >= 0
	}
	const exact = 1 << 53
	return int64(v.Num), v.Num >= 0 && v.Num <= exact && v.Num == math.Trunc(v.Num)
}
