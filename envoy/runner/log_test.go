package runner

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func newPipe(now func() time.Time) (*logPipe, *bytes.Buffer, *[]*BindError) {
	var out bytes.Buffer
	var binds []*BindError
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: levelTrace,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	return &logPipe{log: slog.New(h), now: now, onBind: func(e *BindError) { binds = append(binds, e) }}, &out, &binds
}

func atStart() time.Time { return time.Unix(1, 0) }

func feed(t *testing.T, p *logPipe, s string) {
	t.Helper()
	if n, err := p.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

func TestLogLevelsAndSplitLines(t *testing.T) {
	p, out, _ := newPipe(atStart)
	feed(t, p, "info main star")
	feed(t, p, "ting\nwarning upstream it\\'s \\\"odd\\\"\\n\nerror config e\n\ncriti")
	feed(t, p, "cal main c\r\nlibc: boom")
	feed(t, p, "\nwarning main caught ENVOY_SIGTERM")
	p.close()
	want := `level=INFO msg=starting envoy=main
level=WARN msg="it's \"odd\"; " envoy=upstream
level=ERROR msg=e envoy=config
level=ERROR+4 msg=c envoy=main
level=WARN msg="libc: boom"
level=DEBUG msg="caught ENVOY_SIGTERM" envoy=main
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
	if got := p.lastWords(); len(got) != 4 || got[3] != "libc: boom" {
		t.Errorf("last words %q", got)
	}
}

func TestLogBindErrors(t *testing.T) {
	for line, want := range map[string]BindError{
		`error config listener \'l\' failed to bind or apply socket options: cannot bind \'127.0.0.1:18080\': Address already in use`:                                       {"127.0.0.1:18080", "address already in use"},
		"critical main error `cannot bind \\'10.255.1.1:80\\': Cannot assign requested address` initializing config":                                                        {"10.255.1.1:80", "cannot assign requested address"},
		`warning config Filesystem config update rejected: Error adding/updating listener(s) l: cannot bind \'[::1]:80\': Permission denied\n`:                              {"[::1]:80", "permission denied"},
		`warning config gRPC config for type.googleapis.com/x rejected: Error adding/updating listener(s) l: cannot bind \'0.0.0.0:80\': Address already in use\nnext line`: {"0.0.0.0:80", "address already in use"},
	} {
		p, _, binds := newPipe(atStart)
		feed(t, p, line+"\n")
		if len(*binds) != 1 || *(*binds)[0] != want {
			t.Errorf("%s: %v, want %v", line, *binds, want)
		}
	}
}

// TestLogHidesBootstrap: SEC-2. What Envoy 1.40.0 printed of a bootstrap with a mistake.
func TestLogHidesBootstrap(t *testing.T) {
	p, out, _ := newPipe(atStart)
	feed(t, p, "critical main error `Unable to parse JSON as proto (INVALID_ARGUMENT: invalid JSON in envoy.config.bootstrap.v3.Bootstrap @ node.id: string, near 1:25): {\\\"key\\\":\\\"sk-secret\\\"}` initializing config \\'x\\'\n"+
		"Unable to parse JSON as proto (INVALID_ARGUMENT): {\"key\":\"sk-secret\"}\n  key: sk-secret\n")
	if got := out.String(); strings.Contains(got, "secret") || !strings.Contains(got, "near 1:25") {
		t.Errorf("got %s", got)
	}
	if got := strings.Join(p.lastWords(), " "); strings.Contains(got, "secret") {
		t.Errorf("last words %q", got)
	}
}

func TestLogIsBounded(t *testing.T) {
	now := time.Unix(100, 0)
	p, out, _ := newPipe(func() time.Time { return now })
	feed(t, p, "warning a "+strings.Repeat("x", 1<<20)+"\n")
	if n := out.Len(); n > 2*maxLine {
		t.Errorf("a line of 1 MiB became %d bytes", n)
	}
	if cap(p.part) > 4*maxLine {
		t.Errorf("%d bytes were kept of a line of 1 MiB", cap(p.part))
	}
	out.Reset()
	feed(t, p, strings.Repeat("info a b\n", 10_000)+"error a important\n")
	now = now.Add(time.Second)
	feed(t, p, "info a after\n")
	got := out.String()
	if n := strings.Count(got, "msg=b"); n >= maxLinesASec {
		t.Errorf("%d of 10000 lines in a second were logged", n)
	}
	if !strings.Contains(got, "log lines of Envoy's left out") || !strings.Contains(got, "after") {
		t.Errorf("no word of what was left out, or the next second is silent")
	}
	if n := len(p.lastWords()); n > maxTail {
		t.Errorf("%d last words", n)
	}
}
