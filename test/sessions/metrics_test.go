package sessions

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// CMD-8: what an operator watches is on /metrics, and counts.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := startSite(t, "")
	a := s.chat(t, hello)
	s.Event(t, a.header.Get("x-request-id"))
	harness.Eventually(t, "the request is counted", func() error {
		resp, err := client.Get(s.Admin + "/metrics")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%d %s", resp.StatusCode, text)
		}
		for _, line := range []string{"shunt_admitted_total 1", "shunt_billed_total 1", "shunt_state_connected 1", "shunt_billing_open 0", "go_goroutines "} {
			if !strings.Contains(string(text), "\n"+line) {
				return fmt.Errorf("no %q", line)
			}
		}
		return nil
	})
}
