package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// said are the members that stand for themselves: nothing else in an event tells what
// they were. A second copy of the event does.
var said = []string{
	"id", "source", "subject", "datacontenttype", "data.started_at", "data.stream", "data.requested_model", "data.model",
	"data.decision.catalog", "data.currency",
	"data.decision.tiers.1.prompt", "data.decision.tiers.1.completion", "data.decision.tiers.1.cache_read", "data.decision.tiers.1.cache_write",
	"data.decision.chain.0.provider", "data.decision.chain.0.upstream_model", "data.decision.chain.0.price.prompt", "data.decision.chain.0.price.completion",
	"data.decision.chain.0.price.cache_read", "data.decision.chain.0.price.cache_write", "data.decision.chain.0.price.request", "data.decision.chain.0.price.markup",
	"data.decision.chain_cut", "data.decision.left_out.0.provider", "data.decision.left_out.0.reason", "data.decision.left_out_cut",
	"data.attempts.0.provider", "data.attempts.0.upstream_model", "data.attempts.0.status", "data.attempts.0.duration_ms",
	"data.attempts.1.provider", "data.attempts.1.upstream_model", "data.attempts.1.status", "data.attempts.1.duration_ms",
	"data.decision.tiers.1.above",   // far above the prompt, before and after
	"data.usage.cache_write_tokens", // charged as the prompt is
	"data.usage.reasoning_tokens",   // part of the completion
}

// leaves calls each with the path of every value in v that is no container, and a
// way to change it.
func leaves(v any, path string, each func(path string, value any, set func(any))) {
	at := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	visit := func(key string, x any, set func(any)) {
		switch x.(type) {
		case map[string]any, []any:
			leaves(x, at(key), each)
		default:
			each(at(key), x, set)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			visit(k, v[k], func(x any) { v[k] = x })
		}
	case []any:
		for i := range v {
			visit(fmt.Sprint(i), v[i], func(x any) { v[i] = x })
		}
	}
}

// another is a value of the same kind that a forger might choose.
func another(path string, v any) any {
	switch v := v.(type) {
	case bool:
		return !v
	case float64:
		return v + 1
	case string:
		if strings.HasSuffix(path, "_at") || path == "time" {
			return strings.Replace(v, "10:00:0", "10:00:00.5", 1)[:19] + "Z"
		}
		if strings.Trim(v, "0123456789.") == "" {
			return v + "1" // more digits
		}
		return v + "x"
	}
	// null
	switch {
	case strings.HasSuffix(path, "_tokens"):
		return 1.0
	case path == "data.note":
		return "error_answer"
	}
	return "0.5"
}

// Whatever member of an event is changed, the event does not add up, or the member is
// one that stands for itself; and beside the event as it was, from another sink, every
// change shows.
func TestEveryMemberTampered(t *testing.T) {
	var free []string
	var event map[string]any
	if err := json.Unmarshal([]byte(whole), &event); err != nil {
		t.Fatal(err)
	}
	leaves(event, "", func(path string, value any, set func(any)) {
		set(another(path, value))
		defer set(value)
		forged, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		if string(forged) == whole {
			t.Fatalf("%s: not changed", path)
		}
		e, err := Parse(forged)
		if err == nil && Check(e) == nil {
			free = append(free, path)
		}
		if path == "id" || path == "source" {
			return // another event
		}
		rd, found := NewReader(), false
		for _, line := range []string{whole, string(forged)} {
			err := rd.Read("f", strings.NewReader(line), func(l *Line) error { found = found || l.Err != nil; return nil })
			if err != nil {
				t.Fatal(err)
			}
		}
		if !found {
			t.Errorf("%s: two versions of the event, and nobody says so", path)
		}
	})
	want := slices.Sorted(slices.Values(said))
	slices.Sort(free)
	if !slices.Equal(free, want) {
		for _, p := range free {
			if !slices.Contains(want, p) {
				t.Errorf("%s is changed and everything still adds up", p)
			}
		}
		for _, p := range want {
			if !slices.Contains(free, p) {
				t.Errorf("%s is checked by now: take it off the list", p)
			}
		}
	}
}
