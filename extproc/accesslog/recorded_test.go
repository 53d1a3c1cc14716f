package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/policy"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// recorded reads testdata/envoy-1.40.0.jsonl: entries that a real Envoy 1.40.0 sent,
// in the order in which it sent them, with a priority-group chain, retries without
// back-off and per_try_idle_timeout 300 ms, and usage where the response filter puts
// it; the request header x-case names the case, and the providers are called by what they do. Addresses and
// fields that nobody reads were left out. Where a quote belongs stands the case's
// name; it is replaced by a quote for the recorded chain.
func recorded(t testing.TB) (order []string, entries map[string][]*logv3.HTTPAccessLogEntry) {
	t.Helper()
	f, err := os.Open("testdata/envoy-1.40.0.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries = map[string][]*logv3.HTTPAccessLogEntry{}
	sc := bufio.NewScanner(f)
	for sc.Buffer(nil, 1<<20); sc.Scan(); {
		e := &logv3.HTTPAccessLogEntry{}
		if err := protojson.Unmarshal(sc.Bytes(), e); err != nil {
			t.Fatal(err)
		}
		name := e.GetRequest().GetRequestHeaders()["x-case"]
		if entries[name] == nil {
			order = append(order, name)
		}
		entries[name] = append(entries[name], e)
		if fields := e.GetCommonProperties().GetMetadata().GetFilterMetadata()[names.Namespace].GetFields(); fields[names.KeyQuote] != nil {
			fields[names.KeyQuote] = structpb.NewStringValue(quoteFor(t, e, fields[names.KeyPriorityGroups]))
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return order, entries
}

// quoteFor is an explicit quote for the providers of a recorded chain; each asks 1
// per 1M prompt tokens and 2 per 1M completion tokens.
func quoteFor(t testing.TB, e *logv3.HTTPAccessLogEntry, groups *structpb.Value) string {
	t.Helper()
	id := e.GetRequest().GetRequestId()
	if id == "" { // the case in which an upstream filter takes the header away
		id = "without-header"
	}
	model := &catalog.Model{ID: "model"}
	d := &policy.Decision{Kind: policy.KindExplicit, Model: model}
	price := &catalog.Price{Prompt: decimal.New(1, 0), Completion: decimal.New(2, 0)}
	for _, g := range groups.GetListValue().GetValues() {
		slug := g.GetStructValue().GetFields()["name"].GetStringValue()
		d.Attempts = append(d.Attempts, policy.Attempt{Offer: &catalog.Offer{
			Model: model, Provider: &catalog.Provider{Slug: slug}, Upstream: slug + "/model", Price: price,
		}})
	}
	q := billing.NewQuote(d, &billing.Facts{
		ID: id, Source: "shunt/test", StartedAt: e.GetCommonProperties().GetStartTime().AsTime().Add(time.Millisecond),
		Stream: e.GetResponse().GetResponseHeaders()["content-type"] == "text/event-stream", RequestBytes: 400,
		Catalog: &catalog.Catalog{Hash: "hash", Billing: catalog.Billing{Currency: "USD"}},
	})
	return string(q.AppendJSON(nil))
}

// observed is a server whose handlers write down what they are given.
func observed() (*Server, *bytes.Buffer) {
	out := &bytes.Buffer{}
	s := New(Config{
		Attempt: func(id string, a billing.Attempt) {
			fmt.Fprintf(out, "attempt %s %s %d ttft=%v took=%v", dash(a.Provider), dash(string(a.Outcome)), a.Status, ms(a.TTFT), ms(a.Duration))
			if a.RetryAfter > 0 {
				fmt.Fprintf(out, " retry-after=%v", a.RetryAfter)
			}
			fmt.Fprintln(out)
		},
		Request: func(_ context.Context, q *billing.Quote, r *billing.Record) error {
			fmt.Fprintf(out, "request %d end=%s attempts=%d cluster=%s ttft=%v took=%v sent=%d\n", r.Status, [...]string{"clean", "gone", "cut"}[r.End],
				r.AttemptCount, dash(r.Provider), ms(r.TTFT), ms(r.Duration), r.AnswerBytes)
			e := billing.Settle(q, r)
			d := &e.Data
			fmt.Fprintf(out, "event %s by %s, usage %s, amount %s\n", d.Status, dash(string(d.Provider)), compact(d.Usage), d.Amount)
			for _, a := range d.Attempts {
				fmt.Fprintf(out, "  %s\n", compact(a))
			}
			return nil
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	return s, out
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func batch(entries ...*logv3.HTTPAccessLogEntry) *accesslogv3.StreamAccessLogsMessage {
	return &accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_HttpLogs{
		HttpLogs: &accesslogv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries},
	}}
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// What Envoy really sends, and what becomes of it: testdata/recorded.txt.
func TestRecorded(t *testing.T) {
	order, entries := recorded(t)
	var got strings.Builder
	for _, name := range order {
		s, out := observed()
		if err := s.message(t.Context(), batch(entries[name]...), discard()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		fmt.Fprintf(&got, "# %s\n%s\n", name, out)
	}
	const path = "testdata/recorded.txt"
	if *rewrite {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}

// Entry by entry, in any order, and with an entry twice: the same money, status and
// provider. Only what an attempt that comes too late would have said may be missing.
func TestRecordedInOtherOrders(t *testing.T) {
	order, entries := recorded(t)
	for _, name := range order {
		want := moneyOf(t, batch(entries[name]...))
		list := entries[name]
		var single, backwards, twice []*accesslogv3.StreamAccessLogsMessage
		for i := range list {
			single = append(single, batch(list[i]))
			backwards = append(backwards, batch(list[len(list)-1-i]))
			twice = append(twice, batch(list[i], list[i]))
		}
		for how, messages := range map[string][]*accesslogv3.StreamAccessLogsMessage{"one by one": single, "backwards": backwards, "twice": twice} {
			if got := moneyOf(t, messages...); got != want {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", name, how, got, want)
			}
		}
	}
}

// moneyOf settles by way of a ledger and returns what is in every event.
func moneyOf(t *testing.T, messages ...*accesslogv3.StreamAccessLogsMessage) string {
	t.Helper()
	sink := &memory{}
	ledger := billing.NewLedger(discard(), sink)
	s := New(Config{Request: ledger.Settle, Log: discard()})
	for _, m := range messages {
		if err := s.message(t.Context(), proto.Clone(m).(*accesslogv3.StreamAccessLogsMessage), discard()); err != nil {
			t.Fatal(err)
		}
	}
	var out []string
	for _, m := range sink.got {
		var e billing.Event
		if err := json.Unmarshal(m.Body, &e); err != nil {
			t.Fatal(err)
		}
		d := &e.Data
		out = append(out, fmt.Sprint(e.ID, d.Status, d.Provider, d.Amount, d.ListAmount.Decimal, compact(d.Usage), len(d.Attempts)))
	}
	return strings.Join(out, "\n")
}

// memory is a journal that keeps the first event of each request.
type memory struct{ got []billing.Message }

func (s *memory) Finish(id string, _ billing.Status, event []byte) (bool, error) {
	if s.Known(id) {
		return false, nil
	}
	s.got = append(s.got, billing.Message{ID: id, Body: event})
	return true, nil
}

func (s *memory) Known(id string) bool {
	return slices.ContainsFunc(s.got, func(m billing.Message) bool { return m.ID == id })
}
