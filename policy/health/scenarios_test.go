package health_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/policy/health"
)

const (
	ms  = time.Millisecond
	sec = time.Second
	mnt = time.Minute
)

var (
	refused = health.Event{Outcome: health.ConnectFailure}
	hung    = health.Event{Outcome: health.Timeout}
	broken  = health.Event{Outcome: health.Status, Status: 500}
)

func steady(ttft time.Duration) hosts { return func(time.Duration) host { return host{ttft: ttft} } }

// while returns a provider that is another from one time to another.
func while(h host, from, to time.Duration, then host) hosts {
	return func(at time.Duration) host {
		if from <= at && at < to {
			return then
		}
		return h
	}
}

func failing(share float64, with health.Event, takes time.Duration) host {
	return host{ttft: 250 * ms, fails: share, with: with, takes: takes}
}

// scenario is a story, and what may come of it at most.
type scenario struct {
	name      string
	length    time.Duration
	rps       float64
	estimates []time.Duration
	providers []hosts
	changes   []time.Duration // when who is best becomes another

	follows  []time.Duration // at most as long until requests follow each change, in every run
	regret   time.Duration   // on average, over the whole story
	attempts float64         // for each request, on average
	switches float64         // of the first choice, on average
	fails    bool            // there are requests that nobody answers
}

var good = host{ttft: 250 * ms}

var scenarios = []scenario{
	{
		name: "cold start: nothing is known; 600, 250 and 400 ms", length: 10 * mnt, rps: 10,
		providers: []hosts{steady(600 * ms), steady(250 * ms), steady(400 * ms)},
		changes:   []time.Duration{0}, follows: []time.Duration{3 * mnt}, regret: 60 * ms, attempts: 1.01, switches: 4,
	},
	{
		name: "estimates are wrong: 100 and 500 ms, really 900 and 300", length: 10 * mnt, rps: 10,
		estimates: []time.Duration{100 * ms, 500 * ms},
		providers: []hosts{steady(900 * ms), steady(300 * ms)},
		changes:   []time.Duration{0}, follows: []time.Duration{mnt}, regret: 60 * ms, attempts: 1.01, switches: 3,
	},
	{
		name: "latency shift: 250 ms, 1.5 s for 10 minutes, 250 ms", length: 30 * mnt, rps: 10,
		providers: []hosts{while(good, 10*mnt, 20*mnt, host{ttft: 1500 * ms}), steady(400 * ms)},
		changes:   []time.Duration{10 * mnt, 20 * mnt}, follows: []time.Duration{100 * sec, 5 * mnt}, regret: 100 * ms, attempts: 1.01, switches: 4,
	},
	{
		name: "outage: connections refused for 2 minutes", length: 20 * mnt, rps: 10,
		providers: []hosts{while(good, 10*mnt, 12*mnt, failing(1, refused, 5*ms)), steady(400 * ms)},
		changes:   []time.Duration{10 * mnt, 12 * mnt}, follows: []time.Duration{10 * sec, 90 * sec}, regret: 15 * ms, attempts: 1.02, switches: 12,
	},
	{
		name: "hang: no first byte for 2 minutes, timeout 20 s", length: 20 * mnt, rps: 10,
		providers: []hosts{while(good, 10*mnt, 12*mnt, failing(1, hung, firstByte)), steady(400 * ms)},
		changes:   []time.Duration{10 * mnt, 12 * mnt}, follows: []time.Duration{30 * sec, mnt}, regret: 500 * ms, attempts: 1.05, switches: 12,
	},
	{
		name: "brownout: 60 % answer 500 for 3 minutes", length: 20 * mnt, rps: 10,
		providers: []hosts{while(good, 10*mnt, 13*mnt, failing(0.6, broken, 50*ms)), steady(400 * ms)},
		changes:   []time.Duration{10 * mnt, 13 * mnt}, follows: []time.Duration{25 * sec, 4 * mnt}, regret: 40 * ms, attempts: 1.02, switches: 12,
	},
	{
		name: "mild brownout: 20 % answer 500 for 10 minutes", length: 20 * mnt, rps: 10,
		providers: []hosts{while(good, 5*mnt, 15*mnt, failing(0.2, broken, 50*ms)), steady(400 * ms)},
		regret:    60 * ms, attempts: 1.15, switches: 6,
	},
	{
		name: "flapping: refused for 20 s, well for 20 s, for 10 minutes", length: 20 * mnt, rps: 10,
		providers: []hosts{flapping, steady(400 * ms)},
		regret:    60 * ms, attempts: 1.03, switches: 30,
	},
	{
		name: "rate limit: 20 a second of 50, 429 with retry-after 1 s", length: 10 * mnt, rps: 50,
		providers: []hosts{func(time.Duration) host { return host{ttft: 250 * ms, limit: 20, ignore: true} }, steady(400 * ms)},
		regret:    60 * ms, attempts: 1.6, switches: 1200,
	},
	{
		name: "two equal providers, 300 ms each", length: 60 * mnt, rps: 10,
		providers: []hosts{steady(300 * ms), steady(300 * ms)},
		regret:    5 * ms, attempts: 1.01, switches: 8,
	},
	{
		name: "our own network is down for a minute", length: 20 * mnt, rps: 10,
		providers: []hosts{
			while(good, 10*mnt, 11*mnt, failing(1, refused, 5*ms)), while(host{ttft: 400 * ms}, 10*mnt, 11*mnt, failing(1, refused, 5*ms)),
			while(host{ttft: 500 * ms}, 10*mnt, 11*mnt, failing(1, refused, 5*ms)),
		},
		changes: []time.Duration{11 * mnt}, follows: []time.Duration{5 * sec}, regret: 40 * ms, attempts: 1.2, switches: 4, fails: true,
	},
}

func flapping(at time.Duration) host {
	if 5*mnt <= at && at < 15*mnt && at/(20*sec)%2 == 0 {
		return failing(1, refused, 5*ms)
	}
	return good
}

// runs is how often each story is played, with other luck each time.
const runs = 8

// result is what a story came to, on average.
type result struct {
	follows  []time.Duration // the latest of all runs
	usually  []time.Duration
	ttft     time.Duration // what nobody answered does not count
	ideal    time.Duration
	attempts float64
	explored float64 // share of requests
	failed   float64 // requests
	switches float64
}

func (sc *scenario) play(t testing.TB) result {
	r := result{follows: make([]time.Duration, len(sc.changes)), usually: make([]time.Duration, len(sc.changes))}
	for seed := range uint64(runs) {
		s := newSim(t, seed, sc.estimates, sc.providers...)
		s.run(sc.length, sc.rps)
		slices.SortFunc(s.asked, func(a, b asked) int { return int(a.at - b.at) })
		r.add(s)
		for i, change := range sc.changes {
			f := followed(s.asked, change)
			if f < 0 {
				t.Errorf("%s: requests never follow change %d", sc.name, i+1)
			}
			r.follows[i] = max(r.follows[i], f)
			r.usually[i] += f / runs
		}
	}
	return r
}

func (r *result) add(s *sim) {
	var sum asked
	answered, explored := 0, 0
	for _, a := range s.asked {
		sum.attempts += a.attempts
		if a.explored {
			explored++
		}
		if a.failed {
			r.failed += 1.0 / runs
		} else if a.best >= 0 {
			answered++
			sum.ttft += a.ttft
			sum.ideal += a.ideal
		}
	}
	r.ttft += sum.ttft / time.Duration(answered) / runs
	r.ideal += sum.ideal / time.Duration(answered) / runs
	r.attempts += float64(sum.attempts) / float64(len(s.asked)) / runs
	r.explored += float64(explored) / float64(len(s.asked)) / runs
	r.switches += float64(len(s.switches)-1) / runs // the first is no change
}

// followed is when, after a change, 45 of 50 requests in a row ask first whom the
// oracle would.
func followed(all []asked, change time.Duration) time.Duration {
	const row, enough = 50, 45
	from, _ := slices.BinarySearchFunc(all, change, func(a asked, at time.Duration) int { return int(a.at - at) })
	right := 0
	for i := from; i < len(all); i++ {
		if all[i].first == all[i].best {
			right++
		}
		if i-from >= row && all[i-row].first == all[i-row].best {
			right--
		}
		if i-from >= row-1 && right >= enough {
			return all[i-row+1].at - change
		}
	}
	return -1
}

var rewrite = flag.Bool("rewrite", false, "write the figures into docs/health.md")

const (
	docs  = "../../docs/health.md"
	begin = "<!-- written by go test ./policy/health -run TestSimulation -rewrite -->\n"
	end   = "<!-- end -->"
)

// TestSimulation plays all scenarios. The figures in docs/health.md are these.
//
//	go test ./policy/health -run TestSimulation -rewrite
func TestSimulation(t *testing.T) {
	var b strings.Builder
	b.WriteString("| scenario | requests follow a change after (at the latest) | TTFT, mean | an oracle's | attempts a request | first choice changed | explored |\n|---|---|---|---|---|---|---|\n")
	for i := range scenarios {
		sc := &scenarios[i]
		r := sc.play(t)
		sc.check(t, &r)
		follows := []string{}
		for i, f := range r.usually {
			follows = append(follows, fmt.Sprintf("%.0f s (%.0f)", f.Seconds(), r.follows[i].Seconds()))
		}
		fmt.Fprintf(&b, "| %s | %s | %d ms | %d ms | %.3f | %.1f | %.1f %% |\n", sc.name, strings.Join(follows, ", then "),
			r.ttft.Milliseconds(), r.ideal.Milliseconds(), r.attempts, r.switches, 100*r.explored)
	}
	t.Log("\n" + b.String())
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the figures: %s … %s", docs, begin, end)
	}
	if *rewrite {
		if err := os.WriteFile(docs, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if old != b.String() && runtime.GOARCH == "amd64" { // others round some products once less
		t.Errorf("%s has other figures; write them with -rewrite", docs)
	}
}

func (sc *scenario) check(t *testing.T, r *result) {
	for i, f := range r.follows {
		if f > sc.follows[i] {
			t.Errorf("%s: requests follow change %d after %v, want at most %v", sc.name, i+1, f, sc.follows[i])
		}
	}
	if regret := r.ttft - r.ideal; regret > sc.regret {
		t.Errorf("%s: regret %v, want at most %v", sc.name, regret, sc.regret)
	}
	if r.attempts > sc.attempts {
		t.Errorf("%s: %.3f attempts a request, want at most %v", sc.name, r.attempts, sc.attempts)
	}
	if r.switches > sc.switches {
		t.Errorf("%s: the first choice changed %.1f times, want at most %v", sc.name, r.switches, sc.switches)
	}
	if r.failed > 0 && !sc.fails {
		t.Errorf("%s: %.1f requests failed", sc.name, r.failed)
	}
	if r.explored > 0.025 {
		t.Errorf("%s: %.1f %% of requests explored, at most 2 %% may", sc.name, 100*r.explored)
	}
}
