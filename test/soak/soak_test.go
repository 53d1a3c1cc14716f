package soak

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Build(m)) }

// plan is how long the soak lasts and how often something dies.
type plan struct {
	length, gauge time.Duration
	from, to      time.Duration // between two deaths
}

func planned(t *testing.T) plan {
	text := os.Getenv("SHUNT_SOAK")
	if text == "" {
		return plan{6 * time.Second, time.Second, time.Second, 2 * time.Second}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SHUNT_SOAK: %v; want a duration such as 30m", err)
	}
	return plan{d, 10 * time.Second, 20 * time.Second, time.Minute}
}

// soak is the state of one run.
type soak struct {
	*load
	t      *testing.T
	dir    string
	config string
	shunt  *harness.Shunt
	remote *remote
	file   *tail
	rss    []float64 // MiB of shunt, each taken just before something died, a while after its start
	deaths map[string]int
}

// BILL-1: under load, with parts dying at random, every admitted request has exactly
// one event with each sink, and memory and disk stay as they are.
func TestSoak(t *testing.T) {
	p := planned(t)
	s := begin(t)
	full := s.capacity(p.gauge)
	began := time.Now()
	s.start(full / 2)
	kinds := []func(){s.killShunt, s.killEnvoy, s.sinkAway}
	for i := 0; time.Since(began) < p.length || i < len(kinds); i++ {
		s.pass(p.from + rand.N(p.to-p.from))
		s.rss = append(s.rss, s.resident())
		if i < len(kinds) { // each at least once
			kinds[i]()
			continue
		}
		kinds[rand.N(len(kinds))]()
	}
	s.end()
	s.waitSettled()
	t.Logf("%v at %.0f requests/s, half of %.0f; deaths: %v; made %d, answered %d, others by status %v",
		time.Since(began).Round(time.Second), full/2, full, s.deaths, s.made.Load(), len(s.answered), s.other)
	for name, l := range map[string]*ledger{"file": s.file.ledger, "http": s.remote.ledger} {
		l.compare(t, name, s.answered, int(s.made.Load()))
	}
	if a, b := s.file.len(), s.remote.len(); a != b {
		t.Errorf("the file sink has %d events, the HTTP sink %d", a, b)
	}
	s.flat()
}

func begin(t *testing.T) *soak {
	s := &soak{t: t, dir: t.TempDir(), remote: &remote{ledger: newLedger(), t: t}, file: &tail{ledger: newLedger()}, deaths: map[string]int{}}
	upstream := harness.StartServer(t, http.HandlerFunc(provider), nil)
	sink := harness.StartServer(t, s.remote, nil)
	s.config = fmt.Sprintf(`billing:
  settle_timeout: 5s
  sinks: [{file: events.jsonl}, {http: {url: "http://%s/events", batch: 200}}]
providers:
  p: {endpoint: "http://%s"}
models:
  m: {price: {prompt: 1, completion: 2}, offers: [{provider: p, model: m, price: {prompt: 1, completion: 2}}]}
`, sink.Addr, upstream.Addr)
	s.load = newLoad()
	s.run()
	return s
}

func (s *soak) run() {
	s.shunt = harness.Run(s.t, s.config, harness.Options{Dir: s.dir, Fast: true}) // at a port of its own
	s.url.Store(&s.shunt.URL)
}

// capacity is how many requests a second all clients get through.
func (s *soak) capacity(d time.Duration) float64 {
	began := time.Now()
	s.start(0)
	s.pass(d)
	s.end()
	if len(s.other) > 0 {
		s.t.Fatalf("before anything died, by status: %v", s.other)
	}
	return float64(s.made.Load()) / time.Since(began).Seconds() // nothing was made before
}

// pass lets time go by while the file sink is read.
func (s *soak) pass(d time.Duration) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(d); time.Now().Before(until); <-tick.C {
		s.readFile()
	}
}

func (s *soak) readFile() {
	if err := s.file.read(filepath.Join(s.dir, "events.jsonl")); err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
}

func (s *soak) killShunt() {
	s.deaths["shunt"]++
	s.shunt.Kill() // its Envoy ends by itself, when it has served what it was serving
	s.run()
}

func (s *soak) killEnvoy() {
	s.deaths["envoy"]++
	for _, p := range s.shunt.Children(s.t) {
		if p.Name == "envoy" {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	harness.Eventually(s.t, "Envoy is back", s.shunt.Ready)
}

func (s *soak) sinkAway() {
	s.deaths["sink"]++
	s.remote.setAway(true)
	s.pass(2 * time.Second)
	s.remote.setAway(false)
}

// waitSettled waits until both sinks hold every answered request and nothing more
// comes after a restart, which gives up what is open.
func (s *soak) waitSettled() {
	harness.Eventually(s.t, "every answered request has its event", func() error {
		s.readFile()
		for _, l := range []*ledger{s.file.ledger, s.remote.ledger} {
			if n := l.lacks(s); n > 0 {
				return fmt.Errorf("%d of %d have none", n, len(s.answered))
			}
		}
		return nil
	})
	s.shunt.Stop(s.t) // ends in an event for what is open, and delivers it
	s.readFile()
}

func (l *ledger) lacks(s *soak) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range s.answered {
		if _, ok := l.events[id]; !ok {
			n++
		}
	}
	return n
}

// resident is shunt's own memory in MiB.
func (s *soak) resident() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.shunt.Cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// flat: the last third of the run needed no more memory than the first, and what
// shunt keeps on disk is bounded.
func (s *soak) flat() {
	third := max(1, len(s.rss)/3)
	first, last := median(s.rss[:third]), median(s.rss[len(s.rss)-third:])
	size := int64(0)
	err := filepath.WalkDir(filepath.Join(s.dir, ".shunt"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("RSS of shunt: median %.0f MiB in the first third of %d samples, %.0f in the last, at most %.0f; data_dir %d MiB",
		first, len(s.rss), last, slices.Max(s.rss), size>>20)
	if last > 1.3*first+32 {
		s.t.Errorf("memory grew from %.0f to %.0f MiB", first, last)
	}
	if size > 1<<30 {
		s.t.Errorf("data_dir holds %d MiB", size>>20)
	}
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
