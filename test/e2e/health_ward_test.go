package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// ward is a shunt whose providers p0, p1, … fall ill, and that learns from it. Every
// provider serves every model; by the estimates, and by the price, p0 is first.
type ward struct {
	*harness.Shunt
	t         testing.TB
	providers []*harness.Provider
}

// wardOptions make a ward.
type wardOptions struct {
	Providers int    // default 2
	Models    string // their ids, with spaces between
	Health    string // settings of routing.health
	Each      string // more of every provider: ", timeout: {…}"
	First     string // more of p0
}

func newWard(t testing.TB, o wardOptions) *ward {
	t.Helper()
	w := &ward{t: t}
	var y strings.Builder
	y.WriteString("providers:\n")
	for i := range max(o.Providers, 2) {
		p := harness.StartProvider(t, demo.Config{Name: fmt.Sprintf("p%d", i)})
		w.providers = append(w.providers, p)
		more := o.Each
		if i == 0 {
			more += o.First
		}
		fmt.Fprintf(&y, "  p%d: {endpoint: %q%s}\n", i, p.URL, more)
	}
	y.WriteString("models:\n")
	for _, m := range strings.Fields(o.Models) {
		fmt.Fprintf(&y, "  %s:\n    offers:\n", m)
		for i := range w.providers {
			fmt.Fprintf(&y, "      - {provider: p%d, model: %s, price: {prompt: %d, completion: %d}, estimate: {ttft: %dms, throughput: %d}}\n",
				i, m, i+1, i+1, i+1, 1000-i)
		}
	}
	w.Shunt = harness.Run(t, y.String()+"routing: {explain: true, health: {"+o.Health+"}}\n")
	return w
}

// longer is for what takes minutes: SHUNT_TEST_LONG=1.
func longer() bool { return os.Getenv("SHUNT_TEST_LONG") != "" }

// behave has a provider answer a model in this way.
func (w *ward) behave(p int, model string, b demo.Behaviour) { w.providers[p].SetFor(model, b) }

func failing(status int) demo.Behaviour { return demo.Behaviour{Fail: &demo.Failure{Status: status}} }

func (w *ward) request(model, more string) *http.Request {
	return newPost(w.t, w.URL+chatPath, `{"model":"`+model+`","messages":[{"role":"user","content":"hello"}]`+more+`}`)
}

func (w *ward) chat(model, more string) answer {
	w.t.Helper()
	return do(w.t, w.request(model, more))
}

// asked is how many requests for a model a provider got.
func (w *ward) asked(p int, model string) (n int) {
	for _, r := range w.providers[p].Requests() {
		if r.Model == model {
			n++
		}
	}
	return n
}

// traffic has clients ask for a model, one request after the other, until stop is
// called or the test ends.
func (w *ward) traffic(clients int, model, more string) (stop func()) {
	// Whoever leaves while shunt decides may never be heard of again, until the event
	// that says unsettled: clients finish what they began.
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	for range clients {
		req := w.request(model, more)
		wg.Go(func() {
			for ctx.Err() == nil {
				again := req.Clone(req.Context())
				again.Body, _ = req.GetBody()
				if resp, err := client.Do(again); err == nil {
					_, _ = bufio.NewReader(resp.Body).WriteTo(new(nowhere))
					_ = resp.Body.Close()
				}
			}
		})
	}
	stop = func() { cancel(); wg.Wait() }
	w.t.Cleanup(stop)
	return stop
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// first waits until a provider is asked first for this, several times in a row.
func (w *ward) first(what, provider, model, more string) {
	w.t.Helper()
	row := 0
	harness.Eventually(w.t, what, func() error {
		if a := w.chat(model, more); a.Status != 200 || a.Provider() != provider || a.Attempts() != "1" {
			row = 0
			return fmt.Errorf("%d from %s after %s attempts", a.Status, a.Provider(), a.Attempts())
		}
		if row++; row < 5 {
			return fmt.Errorf("%s was first %d times in a row", provider, row)
		}
		return nil
	})
}

// metric adds up the series of a metric that have these labels, each as it is written:
// `provider="p0"`.
func (w *ward) metric(name string, labels ...string) (sum float64) {
	w.t.Helper()
	text := get(w.t, w.Admin+"/metrics").Body
	for line := range strings.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok || !strings.HasPrefix(series, name+"{") {
			continue
		}
		for _, l := range labels {
			ok = ok && strings.Contains(series, l)
		}
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
			sum += n
		}
	}
	return sum
}

// grounded waits until nothing is in flight any more.
func (w *ward) grounded() {
	w.t.Helper()
	harness.Eventually(w.t, "nothing is in flight", func() error {
		if n := w.metric("shunt_attempts_in_flight"); n != 0 {
			return fmt.Errorf("%v attempts are", n)
		}
		return nil
	})
}
