package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

// sdkChecks are what every official SDK must find. Each language has all of them,
// by these names.
var sdkChecks = []string{
	"chat", "chat-stream", "chat-stream-usage", "tools", "tools-stream", // API-1, FALL-4, BILL-7
	"responses", "responses-stream", "completions", "completions-stream", // API-1, FALL-4
	"models-list", "models-retrieve", "api-v1-base", "raw-response", // API-2, API-1, FALL-4
	"provider-object", "provider-header", "model-suffix", // REQ-6, REQ-5, REQ-3
	"bad-request", "unknown-model", "rate-limit", "provider-refused", "no-provider", "other-api", // API-6
	"failover", "concurrent", "stream-error", "stream-cut", // FALL-1
	"abort", "timeout", // BILL-8
}

// sdkBehaviours are the models acme/NAME. Where a provider has no entry it answers
// well: compressed where the request allows it, and with "usage":null on chunks
// without usage, as OpenAI does.
var sdkBehaviours = map[string]map[string]demo.Behaviour{
	"chat":    {},
	"limited": both(demo.Behaviour{Fail: &demo.Failure{Status: 429}}),
	"refused": both(demo.Behaviour{Fail: &demo.Failure{Status: 401}}),
	"dead":    both(demo.Behaviour{Fault: demo.FaultReset}),
	"flaky":   {"quick": {Fail: &demo.Failure{Status: 503}}},
	"broken":  both(demo.Behaviour{Fault: demo.FaultError, FaultAfter: 3}),
	"cut":     both(demo.Behaviour{Fault: demo.FaultClose, FaultAfter: 3}),
	"endless": both(demo.Behaviour{Tokens: 5000, ChunkGap: demo.Duration(10 * time.Millisecond)}),
	"hang":    both(demo.Behaviour{Fault: demo.FaultHang}),
}

func both(b demo.Behaviour) map[string]demo.Behaviour {
	return map[string]demo.Behaviour{"quick": b, "thrifty": b}
}

// startSDKSite serves sdkBehaviours by two providers: quick, tried first, and thrifty.
// acme/hang has an alias hang-LANGUAGE: a client that gives up before an answer
// has no request id to find its billing event by.
func startSDKSite(t *testing.T, languages ...string) (*harness.Shunt, []*harness.Provider) {
	t.Helper()
	var providers, models strings.Builder
	var started []*harness.Provider
	for _, slug := range []string{"quick", "thrifty"} {
		c := demo.Config{
			Name: slug, APIKey: "key-" + slug, BasePath: "/" + slug + "/v1",
			Behaviour: demo.Behaviour{Usage: demo.Usage{Null: true}, Gzip: true}, Rules: map[string]demo.Behaviour{},
		}
		for name, by := range sdkBehaviours {
			if b, ok := by[slug]; ok {
				c.Rules["up-"+name] = b
			}
		}
		p := harness.StartProvider(t, c)
		started = append(started, p)
		fmt.Fprintf(&providers, "  %s: {endpoint: %s, api_key: %s}\n", slug, p.URL, c.APIKey)
	}
	for name := range sdkBehaviours {
		fmt.Fprintf(&models, "  acme/%s:\n    price: {prompt: 2, completion: 4}\n    default_providers: [quick, thrifty]\n", name)
		if name == "hang" {
			fmt.Fprintf(&models, "    aliases: [hang-%s]\n", strings.Join(languages, ", hang-"))
		}
		models.WriteString("    offers:\n")
		for i, slug := range []string{"thrifty", "quick"} {
			fmt.Fprintf(&models, "      - {provider: %s, model: up-%s, price: {prompt: %d, completion: 2}, apis: [chat, completions, responses]}\n", slug, name, i+1)
		}
	}
	return harness.Run(t, "providers:\n"+providers.String()+"models:\n"+models.String()), started
}

// billed is what one billing event must say; an empty field may be anything.
type billed struct {
	ID             string `json:"id"` // the request id that the client saw
	RequestedModel string `json:"requested_model"`
	Status         string `json:"status"` // notBilled: there must be no event
	Kind           string `json:"kind"`
	Provider       string `json:"provider"`
	Attempts       int    `json:"attempts"`
	Usage          string `json:"usage"` // its source
}

// notBilled is for what was refused (BILL-1).
const notBilled = "none"

func (want *billed) check(e *harness.Event) error {
	d := &e.Data
	got := billed{e.ID, d.RequestedModel, d.Status, d.Decision.Kind, d.Provider, len(d.Attempts), d.Usage.Source}
	agree := func(got, want string) bool { return want == "" || got == want }
	if agree(got.Status, want.Status) && agree(got.Kind, want.Kind) && agree(got.Provider, want.Provider) &&
		agree(got.Usage, want.Usage) && (want.Attempts == 0 || want.Attempts == got.Attempts) {
		return nil
	}
	return fmt.Errorf("billed %+v, want %+v", got, *want)
}

// expectBilled waits until each of wants has its one event (BILL-1).
func expectBilled(t *testing.T, s *harness.Shunt, wants []billed) {
	t.Helper()
	for _, want := range wants {
		var found []harness.Event
		harness.Eventually(t, fmt.Sprintf("the billing event for %+v", want), func() error {
			found = nil
			all, err := s.AllEvents()
			for _, e := range all {
				if e.ID == want.ID || want.ID == "" && e.Data.RequestedModel == want.RequestedModel {
					found = append(found, e)
				}
			}
			if err == nil && len(found) == 0 && want.Status != notBilled {
				err = fmt.Errorf("%d other events", len(all))
			}
			return err
		})
		switch {
		case want.Status == notBilled && len(found) > 0:
			t.Errorf("BILL-1: a refused request was billed: %+v", found)
		case want.Status == notBilled:
		case len(found) > 1:
			t.Errorf("BILL-1: %d events for %+v", len(found), want)
		default:
			if err := want.check(&found[0]); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestSDK runs the official OpenAI clients against a real Envoy.
func TestSDK(t *testing.T) {
	t.Parallel()
	s, providers := startSDKSite(t, "python", "node", "go")
	t.Run("clients", func(t *testing.T) {
		t.Run("python", func(t *testing.T) {
			t.Parallel()
			runScript(t, s, pythonSDK(t, "python/checks.py", s.URL))
		})
		t.Run("node", func(t *testing.T) {
			t.Parallel()
			runScript(t, s, nodeSDK(t, "node/checks.mjs", s.URL))
		})
		t.Run("go", func(t *testing.T) {
			t.Parallel()
			runGoChecks(t, s)
		})
	})
	t.Run("providers are left when clients leave", func(t *testing.T) {
		harness.Eventually(t, "the end of the endless answers", func() error {
			for _, p := range providers {
				for _, r := range p.Requests() {
					if (r.Model == "up-endless" || r.Model == "up-hang") && !r.ClientLeft {
						return fmt.Errorf("%s still answers request %d", p.Name(), r.ID)
					}
				}
			}
			return nil
		})
	})
}

// decodeBilled reads what a script expects to be billed.
func decodeBilled(text string) (b billed, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return b, fmt.Errorf("billed %s: %w", text, err)
	}
	return b, nil
}
