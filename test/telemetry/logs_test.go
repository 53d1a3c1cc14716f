package telemetry

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// logs: a refused request has a line with its id, which holds nothing of what was
// asked.
func logs(t *testing.T, s *site) {
	refused := s.send(t, chatPath, chat("m", `,"provider":"nobody"`))
	var line struct {
		Level, Msg, Code string
		Status           int
		RequestID        string `json:"request_id"`
	}
	harness.Eventually(t, "the line is there", func() error {
		for text := range strings.Lines(s.Output()) {
			if strings.Contains(text, refused.id()) && json.Unmarshal([]byte(text), &line) == nil {
				return nil
			}
		}
		return errors.New("no line of " + refused.id())
	})
	if line.RequestID != refused.id() || line.Msg != "request refused" || line.Code == "" || line.Status != refused.status || line.Level != "DEBUG" {
		t.Errorf("%d is logged as %+v", refused.status, line)
	}
	for _, secret := range []string{"hunter2", prompt} {
		if strings.Contains(s.Output(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}
