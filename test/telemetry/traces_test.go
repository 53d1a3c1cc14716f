package telemetry

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
	"github.com/shunt-gateway/shunt/test/harness"
)

const otlp = `
telemetry:
  otlp:
    endpoint: http://%s
    headers: {x-otlp-key: %s}
    interval: 1s
`

// decided finds shunt's span of a request among those that came.
func decided(all []span, requestID string) (span, error) {
	i := slices.IndexFunc(all, func(s span) bool { return s.attr("shunt.request_id") == requestID })
	if i < 0 {
		return span{}, fmt.Errorf("no span of %s among %d", requestID, len(all))
	}
	return all[i], nil
}

// ancestors are the names of a span's parents, the nearest first.
func ancestors(all []span, of span) (names []string) {
	for {
		i := slices.IndexFunc(all, func(s span) bool {
			return string(s.SpanId) == string(of.ParentSpanId) && string(s.TraceId) == string(of.TraceId)
		})
		if i < 0 {
			return names
		}
		of = all[i]
		names = append(names, of.service+": "+of.Name)
	}
}

// settle sends requests until a condition holds: Envoy sends spans in batches.
func (s *site) until(t *testing.T, what string, f func() error) {
	t.Helper()
	harness.Eventually(t, what, func() error {
		err := f()
		if err != nil {
			s.send(t, "/v1/models", "", "traceparent", "00-"+strings.Repeat("1", 32)+"-"+strings.Repeat("2", 16)+"-01")
		}
		return err
	})
}

// Envoy's spans and shunt's come to the collector as one trace, and in the right
// order; the headers of the collector come along, and nothing of a client's or a
// provider's.
func TestTraces(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{
		"grpc": otlp, "http": strings.Replace(otlp, "http://%s", "http://%s/base", 1) + "    protocol: http\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, addr := startCollector(t)
			s := startSite(t, fmt.Sprintf(more, addr, keyOTLP))
			s.alpha.Set(demo.Behaviour{Fail: &demo.Failure{Status: 503}})
			resp := s.send(t, chatPath+"?key=hunter2", chat("m", ""))
			refused := s.send(t, chatPath, chat("hunter2", ""))
			if resp.provider() != "beta" || refused.status != http.StatusNotFound {
				t.Fatalf("got %d %v and %d", resp.status, resp.header, refused.status)
			}
			var all []span
			var one, no span
			var up []string
			s.until(t, "the whole trace is there", func() (err error) {
				all = c.all()
				if one, err = decided(all, resp.id()); err != nil {
					return err
				}
				if no, err = decided(all, refused.id()); err != nil {
					return err
				}
				if up = ancestors(all, one); len(up) < 2 || len(ancestors(all, no)) < 2 {
					return fmt.Errorf("its ancestors are %v", up)
				}
				return nil
			})
			if one.Name != "shunt decide" || one.service != "shunt" {
				t.Errorf("it is %s of %s", one.Name, one.service)
			}
			for _, a := range up {
				if !strings.HasPrefix(a, "shunt-envoy: ") {
					t.Errorf("among its ancestors is %s", a)
				}
			}
			for name, want := range map[string]string{
				"gen_ai.operation.name": "chat", "gen_ai.provider.name": "alpha", "gen_ai.request.model": "m", "shunt.kind": "default",
				"shunt.chain": "alpha,beta", "shunt.exclusions": "", "shunt.sticky": "false", "shunt.upstream_model": "up-a",
			} {
				if got := one.attr(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if len(one.attr("shunt.catalog")) != 64 || one.GetStatus().GetCode() != 0 {
				t.Errorf("catalog %q, status %v", one.attr("shunt.catalog"), one.GetStatus())
			}
			if no.GetStatus().GetCode() != 2 || no.attr("error.type") != "model_not_found" {
				t.Errorf("the refusal's status is %v", no)
			}
			for _, sp := range all {
				if said := sp.String(); strings.Contains(said, "hunter2") || strings.Contains(said, prompt) {
					t.Errorf("a span shows a secret: %s", said)
				}
			}
			if keys := c.keysSeen(); len(keys) != 1 || !keys[keyOTLP] {
				t.Errorf("the collector was sent the keys %v", keys)
			}
			// SEC-1, BILL-1: the id does not tell of the trace; it is a plain UUID (version 4).
			if id := resp.id(); len(id) != 36 || id[14] != '4' {
				t.Errorf("the request id is %s", id)
			}
			s.until(t, "metrics are pushed", func() error {
				if c.metric("gen_ai.client.token.usage") == nil || c.metric("shunt.admitted") == nil {
					return errors.New("not yet")
				}
				return nil
			})
		})
	}
}

// A client's own trace is continued, and its word on sampling counts.
func TestClientsTrace(t *testing.T) {
	t.Parallel()
	c, addr := startCollector(t)
	s := startSite(t, fmt.Sprintf(otlp, addr, keyOTLP)+"    sample: 0%\n")
	const mine, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	sampled := s.send(t, chatPath, chat("m", ""), "traceparent", "00-"+mine+"-"+parent+"-01")
	unsampled := s.send(t, chatPath, chat("m", ""), "traceparent", "00-"+strings.Replace(mine, "0", "1", 1)+"-"+parent+"-00")
	silent := s.send(t, chatPath, chat("m", ""))
	var all []span
	s.until(t, "the trace is there", func() error {
		all = c.all()
		one, err := decided(all, sampled.id())
		if err != nil {
			return err
		}
		if hex.EncodeToString(one.TraceId) != mine {
			t.Fatalf("its trace is %x", one.TraceId)
		}
		if !slices.ContainsFunc(all, func(s span) bool { return hex.EncodeToString(s.ParentSpanId) == parent && s.service == "shunt-envoy" }) {
			return errors.New("no span of Envoy's has the client's as its parent")
		}
		return nil
	})
	for _, other := range []answer{unsampled, silent} {
		if one, err := decided(all, other.id()); err == nil {
			t.Errorf("a span of a request that is not sampled: %v", one)
		}
	}
}
