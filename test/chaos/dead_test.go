package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// command runs a shunt command and returns its output and exit code.
func command(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := harness.Command(args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return o.String(), e.String(), code
}

// A receiver refuses events: they are dead letters, over a restart too, until
// somebody redrives them, and then the receiver has each once, and nobody else again.
func TestDeadLetters(t *testing.T) {
	p, r, dir := newProvider(t), newReceiver(t, http.StatusUnprocessableEntity), t.TempDir()
	config := p.config("sinks: [{file: events.jsonl}, " + r.sink() + "]")
	s := start(t, dir, config)
	dead := func(args ...string) (out, errOut string, code int) {
		t.Helper()
		return command(t, append(append([]string{"billing", "dead-letters"}, args...), "-c", s.Config())...)
	}
	if out, errOut, code := dead("list"); code != 0 || out != "no dead letters\n" {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	var ids []string
	for range 3 {
		id, status := chat(s, body)
		if status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		ids = append(ids, id)
	}
	listed := func(want ...string) {
		t.Helper()
		harness.Eventually(t, "the list of dead letters", func() error {
			out, errOut, code := dead("list")
			if code != 0 || strings.Count(out, r.addr) != len(want) {
				return fmt.Errorf("exit %d: %s%s", code, out, errOut)
			}
			for _, id := range want {
				if !strings.Contains(out, id) || !strings.Contains(out, "422") {
					return fmt.Errorf("no %s in %s", id, out)
				}
			}
			return nil
		})
	}
	listed(ids...)
	s.Stop(t)
	if _, errOut, code := dead("list"); code != 3 || !strings.Contains(errOut, "no shunt runs with data_dir") {
		t.Errorf("without a shunt: exit %d: %s", code, errOut)
	}
	s = start(t, dir, config)
	listed(ids...)
	if out, errOut, code := dead("show", ids[1]); code != 0 || !strings.Contains(out, `"id":"`+ids[1]+`"`) || !strings.Contains(out, "amount "+amount) {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if out, _, code := dead("redrive", "--all"); code != 1 || strings.Count(out, "422") != 3 {
		t.Errorf("the receiver still refuses: exit %d: %s", code, out)
	}
	if _, errOut, code := dead("redrive"); code != 2 || !strings.Contains(errOut, "--all") {
		t.Errorf("redrive of nothing: exit %d: %s", code, errOut)
	}
	listed(ids...)
	r.say(http.StatusNoContent)
	if out, errOut, code := dead("redrive", ids[0]); code != 0 || !strings.Contains(out, "1 delivered") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	listed(ids[1:]...)
	if out, errOut, code := dead("redrive", "--sink", r.addr); code != 0 || !strings.Contains(out, "2 delivered") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	listed()
	if _, errOut, code := dead("redrive", ids[0]); code != 1 || !strings.Contains(errOut, "no dead letter") {
		t.Errorf("once more: exit %d: %s", code, errOut)
	}
	s.Stop(t)
	got := r.counts()
	for _, id := range ids {
		if got[id] != 1 {
			t.Errorf("the receiver has %s %d times", id, got[id])
		}
	}
	if n := len(events(t, filepath.Join(dir, "events.jsonl"))); n != 3 || len(got) != 3 {
		t.Errorf("%d events in the file, %d at the receiver", n, len(got))
	}
}
