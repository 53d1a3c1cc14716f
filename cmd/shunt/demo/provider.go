package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Config describes a provider. Only Behaviour and Rules may be changed later.
type Config struct {
	Name     string   // its slug: it is in the words that it writes
	APIKey   string   // the bearer token that clients must send; "": any or none
	BasePath string   // the path that must precede the API's: /v3/openai; "": any
	Models   []string // the ids that it serves; others are 404. None: every id

	Behaviour Behaviour
	Rules     map[string]Behaviour // by model id, in place of Behaviour

	Seed        uint64 // of the dice for FailureRate
	KeepLast    int    // requests that Requests returns at most. 0: 1000
	KeepBodies  int64  // bytes of their bodies at most. 0: 64 MiB
	MaxBodySize int64  // a larger request body is 413. 0: 64 MiB
}

const defaultBytes = 64 << 20

// Provider is a fake provider, an http.Handler. Its methods may be called from
// any goroutine.
type Provider struct {
	config Config
	served atomic.Int64 // numbers the answers
	log    requestLog

	mu     sync.Mutex // guards what follows; never held while answering
	now    Behaviour
	rules  map[string]Behaviour
	script []Behaviour
	dice   *rand.Rand
}

// New makes a provider. It panics where a Behaviour in c is not valid.
func New(c Config) *Provider {
	if c.KeepLast == 0 {
		c.KeepLast = 1000
	}
	if c.KeepBodies == 0 {
		c.KeepBodies = defaultBytes
	}
	if c.MaxBodySize == 0 {
		c.MaxBodySize = defaultBytes
	}
	p := &Provider{config: c, dice: rand.New(rand.NewPCG(c.Seed, 0))}
	p.log.keep, p.log.keepBytes = c.KeepLast, c.KeepBodies
	mustBeValid(c.Behaviour)
	mustBeValid(slices.Collect(maps.Values(c.Rules))...)
	p.Reset()
	return p
}

func mustBeValid(all ...Behaviour) {
	for i := range all {
		if err := all[i].Validate(); err != nil {
			panic(fmt.Sprintf("demo: behaviour %d: %v", i, err))
		}
	}
}

// Name is the provider's slug.
func (p *Provider) Name() string { return p.config.Name }

// Set replaces the general behaviour. It panics where b is not valid.
func (p *Provider) Set(b Behaviour) {
	mustBeValid(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = b
}

// SetFor replaces the behaviour for one model id. It panics where b is not valid.
func (p *Provider) SetFor(model string, b Behaviour) {
	mustBeValid(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules[model] = b
}

// Next appends one behaviour for each of the next API requests, ahead of every
// other; after them the others apply again. It panics where one is not valid.
func (p *Provider) Next(script ...Behaviour) {
	mustBeValid(script...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = append(p.script, script...)
}

// Reset goes back to the configured behaviours and forgets what Next added.
func (p *Provider) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.script = p.config.Behaviour, nil
	p.rules = maps.Clone(p.config.Rules)
	if p.rules == nil {
		p.rules = map[string]Behaviour{}
	}
}

// Requests returns the requests seen, oldest first: copies, which do not change
// as answers go on.
func (p *Provider) Requests() []Request { return p.log.all() }

// Await returns the requests as soon as enough is true of them. It fails with the
// cause of ctx's end, and returns what there was then. It blocks; enough is called
// on this goroutine.
func (p *Provider) Await(ctx context.Context, enough func([]Request) bool) ([]Request, error) {
	for {
		all, changed := p.log.watch()
		if enough(all) {
			return all, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return all, fmt.Errorf("demo: waiting for requests at %s: %w", p.config.Name, context.Cause(ctx))
		}
	}
}

// AllDone makes a condition for Await: n requests, and every answer is over.
func AllDone(n int) func([]Request) bool {
	return func(all []Request) bool {
		return len(all) == n && !slices.ContainsFunc(all, func(r Request) bool { return !r.Done })
	}
}

// ForgetRequests empties what Requests returns.
func (p *Provider) ForgetRequests() { p.log.forget() }

// behaviour picks what applies to the next request for model, and throws the dice.
func (p *Provider) behaviour(model string) Behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.rules[model]
	switch {
	case len(p.script) > 0:
		b, p.script = p.script[0], p.script[1:]
	case !ok:
		b = p.now
	}
	if b.FailureRate == 0 {
		return b
	}
	if p.dice.Float64() >= b.FailureRate {
		b.Fail, b.Fault = nil, FaultNone
	} else if b.Fail == nil && b.Fault == FaultNone {
		b.Fail = &Failure{Status: http.StatusServiceUnavailable}
	}
	return b
}

// ServeHTTP answers one request. It does not start goroutines.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPath) {
		p.serveControl(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, p.config.MaxBodySize))
	entry := p.log.add(r, body)
	a := &attempt{p: p, w: w, r: r, entry: entry}
	defer a.finish() // also when a fault panics with http.ErrAbortHandler
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		a.fail(&Failure{Status: http.StatusRequestEntityTooLarge})
	case err != nil:
		a.fail(&Failure{Status: http.StatusBadRequest})
	default:
		a.serve(body)
	}
}

// errStopped is the cause of a request context that the server's own end cancels.
var errStopped = errors.New("demo: the provider was stopped")

// finish must run before the handler returns: net/http cancels the context then.
func (a *attempt) finish() {
	ctx := a.r.Context()
	left := !a.complete && ctx.Err() != nil && !errors.Is(context.Cause(ctx), errStopped)
	a.entry.note(func(r *Request) { r.Done, r.ClientLeft = true, left })
}
