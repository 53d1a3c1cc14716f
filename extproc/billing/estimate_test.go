package billing

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/shunt-gateway/shunt/policy"
)

// answered is a completed answer of so many tokens and bytes.
func answered(tokens, bytes int64) *Record {
	return &Record{Status: 200, AttemptCount: 1, AnswerBytes: bytes, Usage: usage(100, tokens, 0, 0, 0)}
}

// silent is the same without usage.
func silent(bytes int64) *Record { return &Record{Status: 200, AttemptCount: 1, AnswerBytes: bytes} }

func estimateQuote(t testing.TB, stream string) *Quote {
	t.Helper()
	c, offers := testCatalog()
	f := facts(c)
	f.Stream = stream != ""
	q := NewQuote(decide(policy.KindExplicit, offers["novita"]), f)
	return &q
}

// What is learned of a model is used for it, and for nothing else.
func TestEstimatorLearns(t *testing.T) {
	stream, whole := estimateQuote(t, "stream"), estimateQuote(t, "")
	e := NewEstimator()
	for i := range ratioTrusted {
		if d := e.Settle(stream, silent(50_000)).Data; d.Usage.CompletionTokens != Known(200) || d.Usage.Source != Estimated {
			t.Fatalf("after %d answers: %+v, want the default", i, d.Usage)
		}
		e.Settle(stream, answered(1000, 125_000)) // 125 bytes a token
	}
	for range 300 {
		e.Settle(stream, answered(1000, 125_000))
	}
	if d := e.Settle(stream, silent(50_000)).Data; d.Usage.CompletionTokens.N < 395 || d.Usage.CompletionTokens.N > 400 {
		t.Errorf("50,000 bytes at 125 each: %+v", d.Usage)
	}
	if d := e.Settle(whole, silent(4400)).Data; d.Usage.CompletionTokens != Known(1000) {
		t.Errorf("what streams taught holds for JSON: %+v", d.Usage)
	}
	if got, want := fmt.Sprint(Settle(stream, silent(50_000)).Data.Usage.CompletionTokens), fmt.Sprint(Known(200)); got != want {
		t.Errorf("Settle without an Estimator: %s, want %s", got, want)
	}
}

// Only answers that were whole, reported and long enough teach.
func TestEstimatorDoesNotLearn(t *testing.T) {
	q := estimateQuote(t, "stream")
	cancelled := answered(1000, 100_000)
	cancelled.End = EndClientGone
	failed := answered(1000, 100_000)
	failed.StreamError = true
	hidden := answered(1000, 100_000)
	hidden.Usage.Reasoning = Known(990)
	for name, r := range map[string]*Record{
		"cancelled": cancelled, "failed": failed, "mostly reasoning": hidden, "short": answered(ratioMinimum-1, 100_000),
		"estimated": silent(100_000), "no bytes": answered(1000, 0),
	} {
		e := NewEstimator()
		for range 4 * ratioTrusted {
			e.Settle(q, r)
		}
		if len(e.known) != 0 {
			t.Errorf("%s: learned from", name)
		}
	}
}

// Whatever was seen, a ratio stays within its bounds, the same observations give
// the same ratio, and the number of models is bounded.
func TestEstimatorBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := NewEstimator(), NewEstimator()
		stream := rapid.Bool().Draw(t, "stream")
		key := ratioKey{model: "m", stream: stream}
		for range rapid.IntRange(0, 200).Draw(t, "answers") {
			bytes := rapid.OneOf(rapid.Int64Range(0, 1e6), rapid.Int64()).Draw(t, "bytes")
			u := usage(0, rapid.Int64Range(0, MaxTokens).Draw(t, "tokens"), 0, 0, 0)
			a.learn(key, bytes, u)
			b.learn(key, bytes, u)
		}
		got, base := a.ratio(key), defaultRatio(stream)
		if got != b.ratio(key) {
			t.Fatalf("%+v and %+v of the same observations", got, b.ratio(key))
		}
		if got.Bytes < base.Bytes/ratioSpread || got.Bytes > base.Bytes*ratioSpread {
			t.Fatalf("%+v, the default is %+v", got, base)
		}
	})
	e := NewEstimator()
	for i := range ratioModels + 10 {
		e.learn(ratioKey{model: fmt.Sprint(i)}, 10_000, usage(0, 100, 0, 0, 0))
	}
	if len(e.known) != ratioModels {
		t.Errorf("%d models are known, the limit is %d", len(e.known), ratioModels)
	}
}
