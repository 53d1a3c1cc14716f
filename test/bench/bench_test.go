package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// site serves one site of the provider in this process until the test ends.
func site(t *testing.T, which int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go accept(ln, which)
	return ln.Addr().String()
}

func TestLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, c := range map[string]struct {
		site int
		kind kind
		good int
	}{
		"JSON":   {siteFast, whole, http.StatusOK},
		"stream": {siteFast, streamed, http.StatusOK},
		"down":   {siteDown, whole, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoad(site(t, c.site), "/v1", "m", c.kind)
			l.good = c.good
			if err := l.open(ctx, 3); err != nil {
				t.Fatal(err)
			}
			defer l.close()
			got := l.run(ctx, 50*time.Millisecond)
			if len(got.bad) != 0 || got.requests < 3 || len(got.total) != got.requests || len(got.first) != got.requests {
				t.Fatalf("%d requests, %d good, bad %v", got.requests, len(got.total), got.bad)
			}
			if got.first[0] <= 0 || got.first[0] > got.total[0] {
				t.Errorf("first byte after %v, last after %v", got.first[0], got.total[0])
			}
		})
	}
}

func TestLoadCountsBadAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l := newLoad(site(t, siteDown), "/v1", "m", whole)
	if err := l.open(ctx, 1); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	got := l.run(ctx, 10*time.Millisecond)
	if len(got.total) != 0 || got.bad["503 "+downAnswer] != got.requests || got.requests == 0 {
		t.Errorf("%+v", got)
	}
	r := &report{}
	r.bad("x", got)
	if err := r.failure(); err == nil || !strings.Contains(err.Error(), "bad answers: x: 503") {
		t.Errorf("%v", err)
	}
}

func TestHold(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	open, bad := openStreams(ctx, newLoad(site(t, siteHeld), "/v1", "m", streamed), 100)
	for _, c := range open {
		c.Close()
	}
	if len(open) != 100 || len(bad.bad) != 0 {
		t.Errorf("%d open, bad %v", len(open), bad.bad)
	}
	open, bad = openStreams(ctx, newLoad(site(t, siteDown), "/v1", "m", streamed), 5)
	if len(open) != 0 || bad.bad["503 Service Unavailable"] != 5 {
		t.Errorf("%d open, bad %v", len(open), bad.bad)
	}
}

func TestRequestSize(t *testing.T) {
	for _, body := range [][]byte{chatBody("m", whole), chatBody("served", streamed)} {
		if len(body) != requestSize {
			t.Errorf("%d bytes: %.60s", len(body), body)
		}
	}
}

func TestParseStat(t *testing.T) {
	s, err := parseStat("7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 12345 1 1")
	if err != nil || s.state != "S" || s.cpu != 2*time.Second || s.started != "12345" {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := parseStat("7 (a) S"); err == nil {
		t.Error("too few fields, no error")
	}
}

func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	life := filepath.Join(dir, "life") // what the grandchild holds open
	if err := syscall.Mkfifo(life, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := start(dir, "parent", "/bin/sh", "-c", "sleep 60 >life & wait")
	if err != nil {
		t.Fatal(err)
	}
	alive, err := os.Open(life) // returns when the grandchild has it open too
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	below := descendants(c.pid())
	if len(below) != 1 || !below[0].alive() {
		t.Fatalf("below: %+v", below)
	}
	if n, err := rss(c.pid()); err != nil || n <= 0 {
		t.Errorf("rss %d %v", n, err)
	}
	if _, err := cpu([]int{c.pid(), below[0].pid}); err != nil {
		t.Error(err)
	}
	c.stop() // the shell would leave its child behind
	if _, err := io.ReadAll(alive); err != nil {
		t.Error(err)
	}
}

func TestStreamsAreWhole(t *testing.T) {
	for fields, want := range map[kind]int{streamed: streamChunks + 1, streamed + `"stream_options":{"include_usage":true},`: streamChunks + 2} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+site(t, siteFast), bytes.NewReader(chatBody("m", fields)))
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := bytes.Count(text, []byte("data: ")); err != nil || got != want || !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) {
			t.Errorf("%s: %d events, want %d: %v", fields, got, want, err)
		}
	}
}

func TestUntilReportsTheEnd(t *testing.T) {
	c, err := start(t.TempDir(), "failing", "/bin/sh", "-c", "echo broken >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = c.until(t.Context(), func() error { return os.ErrNotExist })
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}

func TestFindGoroutines(t *testing.T) {
	for text, want := range map[string]float64{
		"# HELP go_goroutines x\ngo_goroutines 36\n":              36,
		"go_goroutine_count{otel_scope_name=\"runtime\"} 4e+01\n": 40,
	} {
		if n, unknown := findGoroutines([]byte(text)); n != want || unknown != "" {
			t.Errorf("%q: %v %q", text, n, unknown)
		}
	}
	if _, unknown := findGoroutines([]byte("go_goroutines_x 1\n")); unknown == "" {
		t.Error("no metric, but a count")
	}
}

func TestMedians(t *testing.T) {
	r := &report{}
	for _, ms := range []time.Duration{1, 2, 3} {
		at := func(k time.Duration) sample { return sample{p50: k * ms * time.Millisecond} }
		r.add(0, "plain", at(1))
		r.add(0, "floor", at(3))
		r.add(0, "shunt", at(4))
	}
	if got := r.ratio(0, "shunt", p50); got != 4 {
		t.Errorf("ratio %v, want 4", got)
	}
	if got := r.addedRatio(0, "shunt"); got != 1.5 { // 3 over 2
		t.Errorf("added %v of floor's, want 1.5", got)
	}
	if got := quantile([]time.Duration{1, 2, 3, 4}, 0.99); got != 4 {
		t.Errorf("p99 %v, want 4", got)
	}
}

func TestFindEnvoy(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", "")
	t.Setenv("ENVOY", "")
	executable := func(path string) string {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	find := func(flag, want string) {
		t.Helper()
		got, err := findEnvoy(&options{envoy: flag, root: root})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
	find("", "")
	executable(filepath.Join(root, ".cache/envoy/1.39.0/envoy"))
	find("", executable(filepath.Join(root, ".cache/envoy/1.40.0/envoy")))
	onPath := executable(filepath.Join(root, "bin/envoy"))
	t.Setenv("PATH", filepath.Dir(onPath))
	find("", onPath)
	t.Setenv("ENVOY", executable(filepath.Join(root, "mine")))
	find("", filepath.Join(root, "mine"))
	find(executable(filepath.Join(root, "flag")), filepath.Join(root, "flag"))
	find(filepath.Join(root, "nothing"), "")
}

// Envoy itself judges the configurations.
func TestEnvoyConfig(t *testing.T) {
	envoy, err := findEnvoy(&options{root: "../.."})
	if err != nil {
		t.Fatal(err)
	}
	for name, socket := range map[string]string{"plain": "", "floor": "floor.sock"} {
		text, err := envoyConfig([sites]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}, socket)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "envoy.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-c", file, "--disable-hot-restart").CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
