package chaos

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

// shunt is killed while requests are admitted, answered and settled. Envoy lives, so
// that what was answered is charged in full, and what was not is not charged at all.
func TestKilledUnderLoad(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	config := p.config("sinks: [{file: events.jsonl}], settle_timeout: 30s")
	sink := filepath.Join(dir, "events.jsonl")
	seen := map[string]int{}
	for range 2 * rounds() {
		s := start(t, dir, config)
		stop := load(s)
		before := len(answered(seen))
		harness.Eventually(t, "some requests", func() error { return atLeast(len(events(t, sink)), before+100) })
		s.Kill()
		maps.Copy(seen, stop())
	}
	s := start(t, dir, config)
	all := settled(t, sink, answered(seen))
	check(t, all, "completed")
	for id, status := range seen {
		if e, ok := all[id]; ok && status != 200 {
			t.Errorf("%s was answered %d, and is %s", id, status, e.Data.Status)
		}
	}
	s.Stop(t)
	if all = events(t, sink); len(all) != len(answered(seen)) {
		t.Errorf("%d events for %d requests", len(all), len(answered(seen)))
	}
	if left := owed(t, dir); len(left) > 0 {
		t.Errorf("after a clean stop the log holds %d", len(left))
	}
}

func atLeast(n, want int) error {
	if n < want {
		return errFew
	}
	return nil
}

var errFew = errors.New("not so many yet")

// shunt is killed while a stream runs; Envoy goes on, and the next shunt settles it.
func TestKilledInMidStream(t *testing.T) {
	for range rounds() {
		p, dir := newProvider(t), t.TempDir()
		s := start(t, dir, p.config(quick))
		st := begin(t, s)
		p.gate <- struct{}{}
		s.Kill()
		if ids := owed(t, dir); !ids[st.id] {
			t.Fatal("the log does not hold the request")
		}
		again := start(t, dir, p.config(quick))
		close(p.gate)
		text, err := st.rest()
		if err != nil || !strings.Contains(text, "[DONE]") {
			t.Fatalf("the client's stream broke: %q, %v", text, err)
		}
		if e := again.Event(t, st.id); e.Data.Status != "completed" || e.Data.Amount != amount {
			t.Errorf("event: %s, %s", e.Data.Status, e.Data.Amount)
		}
		again.Stop(t)
		check(t, events(t, filepath.Join(dir, "events.jsonl")), "completed")
	}
}

// A stream that is silent for longer than the settle timeout is alive all the same.
func TestLongStreamIsNotGivenUp(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	s := start(t, dir, p.config("sinks: [{file: events.jsonl}], settle_timeout: 3s"))
	st := begin(t, s)
	lost := lostInMeantime(t, s) // is given up meanwhile, so more than the timeout has gone by
	if e := s.Event(t, lost); e.Data.Status != "unsettled" {
		t.Errorf("a request whose end was lost is %s", e.Data.Status)
	}
	close(p.gate)
	if _, err := st.rest(); err != nil {
		t.Fatal(err)
	}
	if e := s.Event(t, st.id); e.Data.Status != "completed" || e.Data.Amount != amount {
		t.Errorf("event: %s, %s", e.Data.Status, e.Data.Amount)
	}
}

// lostInMeantime is a request that is admitted and never reported: its ext_proc
// stream is this test's, not Envoy's.
func lostInMeantime(t *testing.T, s *harness.Shunt) string {
	t.Helper()
	const id = "11111111-2222-4333-8444-555555555555"
	admitByHand(t, filepath.Join(s.Dir, ".shunt", "run", "shunt.sock"), id)
	return id
}

// shunt stands still for longer than the settle timeout: what it did not hear then
// proves nothing.
func TestStoppedAndContinued(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	s := start(t, dir, p.config("sinks: [{file: events.jsonl}], settle_timeout: 3s"))
	st := begin(t, s)
	if err := s.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(6500 * time.Millisecond)
	harness.Eventually(t, "two timeouts go by", func() error {
		if time.Now().Before(until) {
			return errFew
		}
		return nil
	})
	if err := s.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "shunt is back", s.Ready)
	close(p.gate)
	if _, err := st.rest(); err != nil {
		t.Fatal(err)
	}
	if e := s.Event(t, st.id); e.Data.Status != "completed" || e.Data.Amount != amount {
		t.Errorf("event: %s, %s", e.Data.Status, e.Data.Amount)
	}
}

// Envoy is killed while a stream runs: the request is given up after the timeout, and
// the next ones are served.
func TestEnvoyKilledInMidStream(t *testing.T) {
	for range rounds() {
		p, dir := newProvider(t), t.TempDir()
		s := start(t, dir, p.config(quick))
		st := begin(t, s)
		kill(t, envoyPID(t, dir))
		if _, err := st.rest(); err == nil {
			t.Error("the stream ended as if nothing had happened")
		}
		if e := s.Event(t, st.id); e.Data.Status != "unsettled" || e.Data.Amount != "0" {
			t.Errorf("event: %s, %s", e.Data.Status, e.Data.Amount)
		}
		harness.Eventually(t, "Envoy is back", s.Ready)
		id, status := chat(s, body)
		if status != 200 {
			t.Fatalf("after Envoy's return: %d", status)
		}
		if e := s.Event(t, id); e.Data.Status != "completed" {
			t.Errorf("event: %s", e.Data.Status)
		}
		s.Stop(t)
		if n := len(events(t, filepath.Join(dir, "events.jsonl"))); n != 2 {
			t.Errorf("%d events for 2 requests", n)
		}
	}
}

// shunt and Envoy are both killed; what was open is given up by the next shunt.
func TestEverythingKilled(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	s := start(t, dir, p.config(quick))
	st := begin(t, s)
	pid := envoyPID(t, dir)
	s.Kill()
	kill(t, pid)
	again := start(t, dir, p.config(quick))
	if e := again.Event(t, st.id); e.Data.Status != "unsettled" {
		t.Errorf("event: %s", e.Data.Status)
	}
}

// A clean stop ends every request in an event, also one that outlasts the draining.
func TestStoppedInMidStream(t *testing.T) {
	p, dir := newProvider(t), t.TempDir()
	s := start(t, dir, p.config("sinks: [{file: events.jsonl}], settle_timeout: 10m"))
	st := begin(t, s)
	began := time.Now()
	s.Stop(t)
	e, ok := events(t, filepath.Join(dir, "events.jsonl"))[st.id]
	if !ok {
		t.Fatalf("no event after a stop that took %v", time.Since(began))
	}
	t.Logf("%s after a stop that took %v", e.Data.Status, time.Since(began).Round(time.Second))
	if left := owed(t, dir); len(left) > 0 {
		t.Errorf("the log holds %d", len(left))
	}
}
