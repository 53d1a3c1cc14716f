package extproc

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/sticky"
)

// savedStore answers from memory, as the stores' caches do.
type savedStore struct{ preferred string }

func (s *savedStore) For(_ context.Context, _ string, c *catalog.Catalog) (*policy.Preferences, error) {
	p, _ := c.Provider(s.preferred)
	return &policy.Preferences{Preferred: []*catalog.Provider{p}, EnableFallback: true}, nil
}

func (s *savedStore) Lookup(sticky.Key, time.Time) (string, bool) { return "beta", true }

func (s *savedStore) Record(sticky.Key, string, time.Time) {}

// BenchmarkSaved compares a request of nobody with one of a user who has saved
// preferences and asks for a sticky, caching provider.
//
//	go test ./extproc -run '^$' -bench Saved -benchmem
func BenchmarkSaved(b *testing.B) {
	yaml := strings.ReplaceAll(testCatalog, "price: {prompt: 1, completion: 1}", "caching: true, price: {prompt: 1, completion: 1}")
	yaml = strings.ReplaceAll(yaml, "price: {prompt: 2, completion: 2}", "caching: true, price: {prompt: 2, completion: 2}")
	body := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("hello ", 160) + `"}]}`
	run := func(b *testing.B, s *Server, body string, headers ...string) {
		b.ReportAllocs()
		for b.Loop() {
			if out, err := process(b, s, "", chat(body, headers...)...); err != nil || len(out) != 2 {
				b.Fatal(err, out)
			}
		}
	}
	b.Run("none", func(b *testing.B) { run(b, testServer(testDecider(b, yaml)), body) })
	b.Run("identity,preferences,sticky", func(b *testing.B) {
		d := testDecider(b, yaml)
		store := &savedStore{"beta"}
		keyer, err := sticky.NewKeyer(make([]byte, sticky.SecretSize))
		if err != nil {
			b.Fatal(err)
		}
		d.Prefs, d.Sticky, d.Keyer = store, store, keyer
		run(b, testServer(d), strings.Replace(body, `{`, `{"caching":true,`, 1), names.HeaderUser, "ann")
	})
}
