package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/cmd/shunt/demo"
)

// FALL-1: what makes the next attempt, and FALL-2: what each attempt carries.
func TestFallback(t *testing.T) {
	t.Parallel()
	status := func(n int) demo.Behaviour { return demo.Behaviour{Fail: &demo.Failure{Status: n}} }
	c := startChain(t, []demo.Config{{}, {}}, map[string]string{"p0": "timeout: {first_byte: 300ms}"})
	for _, tc := range []struct {
		name      string
		first     demo.Behaviour
		fallsBack bool
		outcome   string
	}{
		{"FALL-1 503", status(503), true, "status"},
		{"FALL-1 500", status(500), true, "status"},
		{"FALL-1 429", status(429), true, "status"},
		{"FALL-1 408", status(408), true, "status"},
		{"FALL-1 401", status(401), true, "status"},
		{"FALL-1 402", status(402), true, "status"},
		{"FALL-1 403", status(403), true, "status"},
		{"FALL-1 404", status(404), true, "status"},
		{"FALL-1 400 never", status(400), false, "status"},
		{"FALL-1 413 never", status(413), false, "status"},
		{"FALL-1 422 never", status(422), false, "status"},
		{"FALL-1 reset before the first byte", demo.Behaviour{Fault: demo.FaultReset}, true, "reset"},
		{"FALL-1 close before the first byte", demo.Behaviour{Fault: demo.FaultClose}, true, "reset"},
		{"FALL-1 first-byte timeout", demo.Behaviour{Fault: demo.FaultHang}, true, "timeout"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.Providers[0].Next(tc.first)
			a := c.chat(t, hello)
			if !tc.fallsBack {
				if a.Status != tc.first.Fail.Status || a.Header.Get("x-attempts") != "1" {
					t.Errorf("got %d after %s attempts, want the provider's own %d after 1\n%s", a.Status, a.Header.Get("x-attempts"), tc.first.Fail.Status, a.Body)
				}
				return
			}
			if a.Status != http.StatusOK || a.Header.Get("x-provider") != "p1" || a.Header.Get("x-attempts") != "2" {
				t.Errorf("got %d from %q after %s attempts, want 200 from p1 after 2\n%s", a.Status, a.Header.Get("x-provider"), a.Header.Get("x-attempts"), a.Body)
			}
			seen := c.Providers[1].Requests()
			if len(seen) == 0 {
				t.Fatal("p1 saw no request")
			}
			last := seen[len(seen)-1]
			if last.Path != "/p1/v1/chat/completions" || last.Host != c.Providers[1].Addr || last.Header.Get("authorization") != "Bearer key-p1" ||
				last.Body != strings.Replace(hello, `"m"`, `"up-p1"`, 1) {
				t.Errorf("FALL-2: the second attempt was %s %s %q %s", last.Host, last.Path, last.Header.Get("authorization"), last.Body)
			}
		})
	}
}
