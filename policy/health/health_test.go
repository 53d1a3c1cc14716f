package health

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// market is a catalog of models m0, m1 … that providers p0, p1 … all offer.
func market(t testing.TB, models, providers int, more ...string) *catalog.Catalog {
	t.Helper()
	var b strings.Builder
	b.WriteString("providers:\n")
	for i := range providers {
		fmt.Fprintf(&b, "  p%d: {endpoint: \"http://127.0.0.1:1\"}\n", i)
	}
	b.WriteString("models:\n")
	for i := range models {
		fmt.Fprintf(&b, "  m%d:\n    offers:\n", i)
		for k := range providers {
			fmt.Fprintf(&b, "      - {provider: p%d, model: up%d}\n", k, i)
		}
	}
	b.WriteString(strings.Join(more, ""))
	c, err := catalog.Parse(catalog.Source{Name: "market.yaml", Data: []byte(b.String()), Dir: "/etc/shunt"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lab is a table, a clock, and what was published.
type lab struct {
	*Table
	now  time.Time
	seen []Figures
}

func newLab(t testing.TB, models, providers int, more ...string) *lab {
	c := market(t, models, providers, more...)
	return &lab{Table: New(c, c.Routing.Health, 1), now: noon, seen: make([]Figures, len(c.Offers()))}
}

func (l *lab) after(d time.Duration) *lab {
	l.now = l.now.Add(d)
	return l
}

func (l *lab) apply(ev Event) *lab {
	l.Apply(&ev, l.now)
	return l
}

func (l *lab) times(n int, ev Event) *lab {
	for range n {
		l.apply(ev)
	}
	return l
}

// lasting applies an event n times, over two seconds: trouble that is no blip.
func (l *lab) lasting(n int, ev Event) *lab {
	l.apply(ev).after(2 * time.Second)
	return l.times(n-1, ev)
}

// of returns an offer's published figures.
func (l *lab) of(i int) Figures {
	for _, c := range l.Changes(l.now) {
		l.seen[c.Offer] = c.Figures
	}
	return l.seen[i]
}

// left is what remains of an offer's cooldown.
func (l *lab) left(i int) time.Duration { return max(l.of(i).CoolingTill.Sub(l.now), 0) }

func (l *lab) phase(i int) Phase { return l.Stats(i, l.now).Phase }

// ok is a streamed answer of 100 tokens.
func ok(offer int, ttft time.Duration) Event {
	return Event{Offer: offer, Outcome: OK, Status: 200, Stream: true, TTFT: ttft, Duration: ttft + 2*time.Second, Tokens: 100}
}

func status(offer, code int) Event { return Event{Offer: offer, Outcome: Status, Status: code} }

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want*(1-tolerance) || got > want*(1+tolerance) {
		t.Errorf("%s: %v, want %v within %v %%", what, got, want, 100*tolerance)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
