package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/health"
)

// city is vitals over so many models of ten providers.
func city(t testing.TB, models int) *vitals {
	t.Helper()
	var y strings.Builder
	y.WriteString("providers:\n")
	for i := range 10 {
		fmt.Fprintf(&y, "  p%d: {endpoint: \"http://127.0.0.1:1\"}\n", i)
	}
	y.WriteString("models:\n")
	for m := range models {
		fmt.Fprintf(&y, "  m%d:\n    offers:\n", m)
		for i := range 10 {
			fmt.Fprintf(&y, "      - {provider: p%d, model: u}\n", i)
		}
	}
	c, err := catalog.Parse(catalog.Source{Name: "shunt.yaml", Data: []byte(y.String()), Dir: "/"})
	if err != nil {
		t.Fatal(err)
	}
	v := &vitals{live: &extproc.Live{}}
	v.adopt(&extproc.World{Snapshot: &policy.Snapshot{Catalog: c}})
	return v
}

// decide decides a request for a model as the path of requests does.
func (v *vitals) decide(t testing.TB, id, model string, rnd uint64) *policy.Decision {
	snap := v.live.Load().Snapshot
	req, refused := policy.Read(&policy.Input{API: catalog.Chat, Path: "/v1/chat/completions", Model: []byte(`"` + model + `"`)}, snap.Catalog)
	if refused != nil {
		t.Error(refused)
		return nil
	}
	d, refused := policy.Decide(req, snap, time.Now(), rnd)
	if refused != nil {
		t.Error(refused)
		return nil
	}
	v.flights.Begin(id, d.Attempts[0].Offer)
	return d
}

// Decisions wait for nobody: neither for a publication that never ends, nor for a
// table that is busy. They read what was published last.
func TestDecisionsDoNotWait(t *testing.T) {
	v := city(t, 10)
	v.mu.Lock() // as a publication or a merge holds it
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				v.decide(t, fmt.Sprint(g, "-", i), "m3", uint64(i)+1)
			}
		})
	}
	wg.Wait() // for ever, if a decision takes the lock
	v.mu.Unlock()
	if n := len(v.flights.byID); n != 800 {
		t.Errorf("%d attempts are known, want 800", n)
	}
}

// Offers whose figures change all the time, while requests are decided:
// what a request reads does not change under it (the race detector says so), and what
// comes later is newer.
func TestPublicationUnderLoad(t *testing.T) {
	const models, offers = 60, 600
	v := city(t, models)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			last := time.Duration(0)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				v.decide(t, fmt.Sprint(g, "-", i), fmt.Sprint("m", i%models), uint64(i)+1)
				if now := v.live.Load().Snapshot.Health.At(offers / 2).TTFT; now < last {
					t.Errorf("figures went back from %v to %v", last, now)
				} else {
					last = now
				}
			}
		})
	}
	for round := range 5 {
		v.mu.Lock()
		at := time.Now()
		for i := range offers {
			for range 10 {
				v.table.Apply(&health.Event{
					Offer: i, Outcome: health.OK, Status: 200, Stream: true, Tokens: 100,
					TTFT: 100 * time.Millisecond << round, Duration: 100 * time.Second,
				}, at)
			}
		}
		v.hear()
		if changes := v.publish(at); len(changes) < offers && round == 0 {
			t.Errorf("%d of %d offers changed", len(changes), offers)
		}
		v.live.Store(v.world)
		v.mu.Unlock()
	}
	close(stop)
	wg.Wait()
}

// BenchmarkPublish is one publication after changes at some of 10,000 offers, from the
// table to where requests read. Nobody waits for it.
//
//	go test ./cmd/shunt -run '^$' -bench Publish -cpu 1
func BenchmarkPublish(b *testing.B) {
	for _, changed := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			v := city(b, 1000)
			at, round := time.Now(), 0
			for b.Loop() {
				b.StopTimer()
				round++
				for i := range changed {
					v.table.Apply(&health.Event{ // a deadline that moves is a change
						Offer: i * (10_000 / changed), Outcome: health.Status, Status: 429, RetryAfter: time.Second + time.Duration(round)*time.Millisecond,
					}, at)
				}
				b.StartTimer()
				v.publish(at)
				v.live.Store(v.world)
			}
		})
	}
}
