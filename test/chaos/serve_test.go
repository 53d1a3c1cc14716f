package chaos

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
	"github.com/shunt-gateway/shunt/test/pair"
)

// side is an Envoy whose logs somebody else rotates.
type side struct{ *pair.Pair }

// rotate does what logrotate would.
func (s side) rotate(t *testing.T, how string) {
	t.Helper()
	path := filepath.Join(s.Dir, "ends.jsonl")
	if how == "rename" {
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		if err := s.Envoy.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, path+".1", string(data))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

// Under shunt serve the journal is where billing.journal says, and its operator's to
// rotate. What ends while no shunt runs is settled, whichever file it stands in.
func TestServeWithJournal(t *testing.T) {
	for _, how := range []string{"rename", "copytruncate"} {
		t.Run(how, func(t *testing.T) {
			p := newProvider(t)
			s := side{pair.Start(t, p.config("sinks: [{file: events.jsonl}], settle_timeout: 30s, journal: ends.jsonl"))}
			sink, journal := filepath.Join(s.Dir, "events.jsonl"), filepath.Join(s.Dir, "ends.jsonl")
			for _, rotated := range []string{"after", "before"} {
				harness.Eventually(t, "Envoy and shunt serve", func() error {
					if _, status := chat(&s.Shunt, body); status != http.StatusOK {
						return fmt.Errorf("status %d", status)
					}
					return nil
				})
				st := begin(t, &s.Shunt)
				_ = s.Serve.Process.Kill()
				_ = s.Serve.Wait()
				if rotated == "before" {
					s.rotate(t, how)
				}
				for range 3 {
					p.gate <- struct{}{}
				}
				if text, err := st.rest(); err != nil || !strings.Contains(text, "[DONE]") {
					t.Errorf("the client's stream: %q, %v", text, err)
				}
				harness.Eventually(t, "Envoy writes the end down", func() error { return holds(journal, st.id) })
				if rotated == "after" {
					s.rotate(t, how)
				}
				s.Again(t)
				check(t, settled(t, sink, map[string]bool{st.id: true}), "completed")
			}
		})
	}
}

func holds(path, text string) error {
	data, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(data), text) {
		err = fmt.Errorf("%s is not in %s", text, path)
	}
	return err
}
