package envoy

import (
	"fmt"
	"strconv"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// routing.fallback_within: an answer that is worth a retry is none any more if it came
// late. Envoy's retry conditions know nothing of time, but they read headers, and a
// header can say it all: status, attempt, and how long the answer took. Attempts without
// an answer are retried as ever; shunt, which is asked before each retry, answers in
// place of those that come too late.

// attemptEnd writes that header; nothing where fallback_within is not set.
func attemptEnd(c *catalog.Catalog) []*mutationv3.HeaderMutation {
	if c.Routing.FallbackWithin == 0 {
		return nil
	}
	return []*mutationv3.HeaderMutation{set(names.HeaderEnd,
		"%RESP(:status)% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %COMMON_DURATION(DS_RX_END:US_RX_BEG:ms)%")}
}

// withoutEnd keeps the header from the client.
func withoutEnd(c *catalog.Catalog) []*mutationv3.HeaderMutation {
	if c.Routing.FallbackWithin == 0 {
		return nil
	}
	return []*mutationv3.HeaderMutation{remove(names.HeaderEnd)}
}

// retriableEnds is FALL-1 for answers, where fallback_within is set.
func retriableEnds(r *catalog.Routing) []*routev3.HeaderMatcher {
	statuses := statusPattern(r.FallbackOn)
	if statuses == "" {
		return nil
	}
	inTime := below(strconv.FormatInt(r.FallbackWithin.Milliseconds(), 10))
	return []*routev3.HeaderMatcher{{Name: names.HeaderEnd, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
			Regex: fmt.Sprintf(`(?:%s) (?:1 (?:%s|-)|(?:[2-9]|\d\d) .*)`, statuses, inTime),
		}}},
	}}}
}

func statusPattern(f catalog.FallbackOn) string {
	var out []string
	if f.ServerErrors {
		out = append(out, `5\d\d`)
	}
	for _, s := range f.Statuses {
		if !f.ServerErrors || s < 500 {
			out = append(out, strconv.Itoa(s))
		}
	}
	return strings.Join(out, "|")
}

// below is a pattern of the whole numbers less than one that is above 0.
func below(limit string) string {
	var out []string
	if n := len(limit); n > 1 {
		out = append(out, fmt.Sprintf(`\d{1,%d}`, n-1))
	}
	for i, digit := range limit {
		if digit == '0' || i == 0 && len(limit) > 1 && digit == '1' {
			continue
		}
		from := '0'
		if i == 0 && len(limit) > 1 {
			from = '1'
		}
		out = append(out, fmt.Sprintf(`%s[%c-%c]\d{%d}`, limit[:i], from, digit-1, len(limit)-1-i))
	}
	return strings.Join(out, "|")
}
