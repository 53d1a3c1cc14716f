package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// scenario is one kind of load.
type scenario struct {
	name  string
	conns int
	kind  kind
}

var scenarios = []scenario{
	{"1 KB chat, c=1", 1, whole},
	{"1 KB chat, c=16", 16, whole},
	{"1 KB chat, c=64", 64, whole},
	{"50 chunks 2 ms apart, 64 streams", 64, streamed},
}

// warmUp precedes every measurement, on its connections.
const warmUp = 300 * time.Millisecond

// sample is one measurement of one target in one round.
type sample struct {
	rps             float64
	p50, p99, first time.Duration
	envoyCPU, goCPU time.Duration // per request
}

// measure fills r. The order of the targets turns from round to round.
func (e *env) measure(ctx context.Context, r *report) error {
	for round := range e.options.rounds {
		order := slices.Concat(e.targets[round%len(e.targets):], e.targets[:round%len(e.targets)])
		for i, s := range scenarios {
			for _, t := range order {
				m, err := e.sample(ctx, r, t, s)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", t.name, s.name, err)
				}
				r.add(i, t.name, m)
			}
		}
		if e.shunt != nil {
			if err := e.failover(ctx, r); err != nil {
				return fmt.Errorf("failover: %w", err)
			}
		}
		fmt.Printf("round %d of %d done\n", round+1, e.options.rounds)
	}
	for _, t := range e.targets[1:] { // all but direct
		if err := e.hold(ctx, r, t); err != nil {
			return fmt.Errorf("%s, held streams: %w", t.name, err)
		}
	}
	return nil
}

func (e *env) sample(ctx context.Context, r *report, t *target, s scenario) (sample, error) {
	l := t.load(siteFast, s.kind)
	if err := l.open(ctx, s.conns); err != nil {
		return sample{}, err
	}
	defer l.close()
	l.run(ctx, warmUp)
	envoyBefore, goBefore, err := t.cpu()
	if err != nil {
		return sample{}, err
	}
	got := l.run(ctx, e.options.duration)
	if err := pause(ctx, t.settle); err != nil {
		return sample{}, err
	}
	envoyAfter, goAfter, err := t.cpu()
	if err != nil {
		return sample{}, err
	}
	r.bad(t.name+", "+s.name, got)
	if len(got.total) == 0 {
		return sample{}, fmt.Errorf("none of %d answers was good: %v", got.requests, got.bad)
	}
	n := time.Duration(got.requests)
	return sample{
		rps: float64(len(got.total)) / got.seconds,
		p50: quantile(got.total, 0.5), p99: quantile(got.total, 0.99), first: quantile(got.first, 0.5),
		envoyCPU: (envoyAfter - envoyBefore) / n, goCPU: (goAfter - goBefore) / n,
	}, nil
}

func (t *target) cpu() (envoy, goes time.Duration, err error) {
	if envoy, err = cpu(t.envoyOf); err != nil {
		return 0, 0, err
	}
	goes, err = cpu(t.goOf)
	return envoy, goes, err
}

// failover compares a request that fails over with the two attempts that it makes:
// one at the provider that is down, taken without anything between, and a whole
// request through shunt that does not fail.
func (e *env) failover(ctx context.Context, r *report) error {
	alone := e.targets[0].load(siteDown, whole)
	alone.good = http.StatusServiceUnavailable
	loads := [3]*load{alone, e.shunt.load(siteFast, whole), e.shunt.load(siteDown, whole)}
	var p50 [3]time.Duration
	var share float64
	for i, l := range loads {
		if err := l.open(ctx, 1); err != nil {
			return err
		}
		l.run(ctx, warmUp)
		got := l.run(ctx, e.options.duration/2)
		l.close()
		if l.retried {
			share = float64(len(got.total)) / float64(max(got.requests, 1))
		} else {
			r.bad("failover, its parts", got)
		}
		if len(got.total) == 0 {
			r.unmeasured("failover", fmt.Sprintf("no good answer took two attempts: %v", got.bad))
			return ctx.Err()
		}
		p50[i] = quantile(got.total, 0.5)
	}
	r.failovers = append(r.failovers, failoverSample{
		added: p50[2] - p50[1] - p50[0], whole: p50[2], second: p50[1], first: p50[0], share: share,
	})
	return nil
}

// failoverSample is failover's medians in one round.
type failoverSample struct {
	added, whole, first, second time.Duration
	share                       float64 // of the answers that took two attempts
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
