package telemetry

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// changes: what becomes of a reload, and a death of Envoy, is counted.
func changes(t *testing.T, s *site) {
	reloads := func(result string) func(*metrics) error {
		return func(m *metrics) error {
			if n := len(m.families["shunt_config_info"].GetMetric()); n != 1 {
				return fmt.Errorf("%d versions of the configuration in use", n)
			}
			return m.want(1, "shunt_config_reloads_total", "result", result)
		}
	}
	s.Rewrite(t, s.config+"nonsense: true\n")
	s.eventually(t, "a mistake is counted", reloads("refused"))
	s.Rewrite(t, s.config+"limits: {body: 1MiB}\n")
	s.eventually(t, "a reload is counted", reloads("taken"))
	for _, p := range s.Children(t) {
		if p.Name == "envoy" {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.eventually(t, "Envoy's death is counted", func(m *metrics) error {
		return errors.Join(m.want(1, "shunt_envoy_restarts_total"), m.want(1, "shunt_envoy_current"))
	})
	harness.Eventually(t, "shunt is ready again", s.Ready)
}
