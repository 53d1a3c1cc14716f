package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// The marks.
const (
	markAdded    = 1.3 // added p50, in floor's
	markFirst    = 4.0 // TTFB of 64 streams, in plain Envoy's
	markStream   = 400 * time.Microsecond
	markFailover = 3 * time.Millisecond
)

// report collects samples and prints medians.
type report struct {
	samples   map[int]map[string][]sample // by scenario and target, in the order of rounds
	failovers []failoverSample
	held      []held
	faults    map[string]int // bad answers
	unknown   []string       // what could not be measured
}

func (r *report) add(scenario int, target string, s sample) {
	if r.samples == nil {
		r.samples = map[int]map[string][]sample{}
	}
	if r.samples[scenario] == nil {
		r.samples[scenario] = map[string][]sample{}
	}
	r.samples[scenario][target] = append(r.samples[scenario][target], s)
}

// bad counts what was not a good answer: it makes a measurement worth less.
func (r *report) bad(where string, got result) {
	if r.faults == nil {
		r.faults = map[string]int{}
	}
	for what, n := range got.bad {
		r.faults[where+": "+what] += n
	}
}

func (r *report) unmeasured(what, why string) {
	text := what + ": " + why
	if !slices.Contains(r.unknown, text) {
		r.unknown = append(r.unknown, text)
	}
}

// failure is why the run is worth less than it looks, or nil.
func (r *report) failure() error {
	var errs []error
	for _, where := range slices.Sorted(maps.Keys(r.faults)) {
		errs = append(errs, fmt.Errorf("bad answers: %s: %d", where, r.faults[where]))
	}
	for _, text := range r.unknown {
		errs = append(errs, errors.New("not measured: "+text))
	}
	return errors.Join(errs...)
}

func (r *report) header(ctx context.Context, e *env) {
	version, err := exec.CommandContext(ctx, e.envoy, "--version").Output()
	if err != nil {
		version = []byte(err.Error())
	}
	fmt.Printf("%s, %d CPUs shared by everything; Envoy%s\n", runtime.Version(), runtime.NumCPU(),
		strings.TrimPrefix(strings.TrimSpace(string(version)), e.envoy))
	fmt.Printf("%d rounds, %v each; medians of the rounds; only ratios count\n", e.options.rounds, e.options.duration)
}

// median of what f gives for each of n rounds.
func median[T cmp.Ordered](n int, f func(round int) T) T {
	all := make([]T, n)
	for i := range all {
		all[i] = f(i)
	}
	slices.Sort(all)
	return all[n/2]
}

func medianOf[T cmp.Ordered](all []sample, f func(sample) T) T {
	return median(len(all), func(i int) T { return f(all[i]) })
}

func p50(s sample) time.Duration { return s.p50 }

func ms(d time.Duration) string { return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond)) }

func us(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/float64(time.Microsecond)) }

// print writes the tables and the marks.
func (r *report) print() {
	for i, s := range scenarios {
		r.printScenario(i, s)
	}
	r.printFailover()
	r.printHeld()
	r.printMarks()
}

var targetOrder = []string{"direct", "plain", "floor", "shunt"}

func (r *report) printScenario(i int, s scenario) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Printf("\n%s\n", s.name)
	fmt.Fprintln(w, "target\treq/s\tp50 ms\tp99 ms\tTTFB p50 ms\tp50 ×plain\tTTFB ×plain\tadded p50 ms\tadded ×floor\tCPU µs/req Envoy\tGo\t")
	for _, name := range targetOrder {
		all := r.samples[i][name]
		if len(all) == 0 {
			continue
		}
		added, times := "", ""
		if name == "floor" || name == "shunt" {
			added = ms(median(len(all), func(k int) time.Duration { return r.added(i, name, k) }))
			times = fmt.Sprintf("%.2f", r.addedRatio(i, name))
		}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\t%s\t%.2f\t%.2f\t%s\t%s\t%s\t%s\t\n", name,
			medianOf(all, func(s sample) float64 { return s.rps }), ms(medianOf(all, p50)),
			ms(medianOf(all, func(s sample) time.Duration { return s.p99 })),
			ms(medianOf(all, func(s sample) time.Duration { return s.first })),
			r.ratio(i, name, p50), r.ratio(i, name, func(s sample) time.Duration { return s.first }),
			added, times,
			us(medianOf(all, func(s sample) time.Duration { return s.envoyCPU })),
			us(medianOf(all, func(s sample) time.Duration { return s.goCPU })))
	}
	_ = w.Flush() // to standard output
}

// ratio against plain Envoy in the same round.
func (r *report) ratio(scenario int, name string, f func(sample) time.Duration) float64 {
	all, plain := r.samples[scenario][name], r.samples[scenario]["plain"]
	return median(len(all), func(k int) float64 { return float64(f(all[k])) / float64(f(plain[k])) })
}

// added is the p50 that a target adds to plain Envoy's in a round.
func (r *report) added(scenario int, name string, round int) time.Duration {
	return r.samples[scenario][name][round].p50 - r.samples[scenario]["plain"][round].p50
}

// addedRatio is a target's added p50 in floor's. It divides medians: what a single
// round adds may be next to nothing.
func (r *report) addedRatio(scenario int, name string) float64 {
	n := len(r.samples[scenario][name])
	of := func(name string) float64 {
		return float64(median(n, func(k int) time.Duration { return r.added(scenario, name, k) }))
	}
	return of(name) / of("floor")
}

func (r *report) printFailover() {
	n := len(r.failovers)
	if n == 0 {
		return
	}
	of := func(f func(failoverSample) time.Duration) string {
		return ms(median(n, func(k int) time.Duration { return f(r.failovers[k]) }))
	}
	fmt.Printf("\nfailover, c=1: %s ms p50; without it %s, the failing attempt alone %s: added %s ms (%.0f%% of the answers took two attempts)\n",
		of(func(f failoverSample) time.Duration { return f.whole }), of(func(f failoverSample) time.Duration { return f.second }),
		of(func(f failoverSample) time.Duration { return f.first }), of(func(f failoverSample) time.Duration { return f.added }),
		100*median(n, func(k int) float64 { return r.failovers[k].share }))
}

func (r *report) printHeld() {
	fmt.Println()
	for _, h := range r.held {
		const mb = 1 << 20
		fmt.Printf("held streams, %s: %d opened in %.1f s; RSS of Envoy %+d MB, of Go %+d MB", h.target, h.streams,
			h.openedIn.Seconds(), h.envoyGrew/mb, h.goGrew/mb)
		if h.target == "shunt" {
			if h.goroutines != "" {
				fmt.Printf("; goroutines unknown: %s", h.goroutines)
			} else {
				fmt.Printf("; goroutines %.0f before, %.0f during, %.0f after", h.before, h.during, h.past)
			}
		}
		fmt.Println()
	}
}

func (r *report) printMarks() {
	fmt.Println("\nmarks for shunt")
	streams := len(scenarios) - 1
	if len(r.samples[0]["shunt"]) == 0 {
		fmt.Println("  none: shunt was not measured")
		return
	}
	for i, s := range scenarios[:streams] {
		mark(fmt.Sprintf("added p50, %s", s.name), r.addedRatio(i, "shunt"), markAdded, "× floor's")
	}
	mark("TTFB, 64 streams", r.ratio(streams, "shunt", func(s sample) time.Duration { return s.first }), markFirst, "× plain Envoy's")
	mark("Go CPU per 50-chunk stream", inMs(medianOf(r.samples[streams]["shunt"], func(s sample) time.Duration { return s.goCPU })),
		inMs(markStream), "ms")
	if n := len(r.failovers); n > 0 {
		mark("failover adds", inMs(median(n, func(k int) time.Duration { return r.failovers[k].added })), inMs(markFailover), "ms")
	} else {
		fmt.Println("  unknown  failover adds")
	}
}

func inMs(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mark(what string, got, limit float64, unit string) {
	word := "met"
	if !(got <= limit) {
		word = "MISSED"
	}
	fmt.Printf("  %-7s  %s: %.2f %s (mark %.2f)\n", word, what, got, unit, limit)
}
