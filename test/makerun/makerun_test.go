//go:build linux

package makerun

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/test/harness"
)

const (
	lastLine = "Ctrl-C ends everything."
	patience = 5 * time.Minute // bounds waits, that for the compiler too; never an expectation
)

// makeRun is a `make run` in a session of its own, so that whatever it starts can
// be found.
type makeRun struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	said strings.Builder
	tmp  string
}

func start(t *testing.T, client, admin net.Addr) *makeRun {
	t.Helper()
	if os.Getenv("ENVOY") == "" { // the Makefile would fetch one for every run of this test
		t.Setenv("ENVOY", cachedEnvoy(t))
	}
	tmp, err := os.MkdirTemp("", "mr") // sockets lie in it: a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	m := &makeRun{tmp: tmp}
	m.cmd = exec.Command("make", "--no-print-directory", "-C", "../..", "run",
		"BIN="+filepath.Join(tmp, "shunt"), "PORT="+port(client), "ADMIN_PORT="+port(admin))
	m.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	m.cmd.WaitDelay = 5 * time.Second
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	m.cmd.Stderr = m.cmd.Stdout
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.out = bufio.NewReader(out)
	kill := func() {
		for _, pid := range session(m.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	watchdog := time.AfterFunc(patience, kill)
	t.Cleanup(func() {
		watchdog.Stop()
		kill()
	})
	return m
}

func cachedEnvoy(t *testing.T) string {
	t.Helper()
	found, err := filepath.Abs("../../.cache/envoy/1.40.0/envoy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(found); err != nil {
		t.Fatalf("no Envoy: set ENVOY, or run make envoy: %v", err)
	}
	return found
}

func port(a net.Addr) string { return strconv.Itoa(a.(*net.TCPAddr).Port) }

// freePort is one that nobody listened on a moment ago.
func freePort(t *testing.T) net.Addr {
	t.Helper()
	l := listen(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := harness.Listen()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// until reads the output up to a line, which is among what it returns.
func (m *makeRun) until(t *testing.T, line string) []string {
	t.Helper()
	var lines []string
	for {
		s, err := m.out.ReadString('\n')
		m.said.WriteString(s)
		lines = append(lines, strings.TrimSuffix(s, "\n"))
		if strings.TrimSuffix(s, "\n") == line {
			return lines
		}
		if err != nil {
			t.Fatalf("the output ended without %q:\n%s", line, m.said.String())
		}
	}
}

// end waits for make's end and checks that it left nothing.
func (m *makeRun) end(t *testing.T) (code int) {
	t.Helper()
	rest, err := io.ReadAll(m.out)
	m.said.Write(rest)
	if err != nil {
		t.Errorf("reading the output: %v", err)
	}
	_ = m.cmd.Wait() // its code is asked below
	if left := session(m.cmd.Process.Pid); len(left) > 0 {
		t.Errorf("still running: %v; it said\n%s", left, m.said.String())
	}
	dirs, err := filepath.Glob(filepath.Join(m.tmp, "shunt-*"))
	if err != nil || len(dirs) > 0 {
		t.Errorf("left behind: %v, %v", dirs, err)
	}
	return m.cmd.ProcessState.ExitCode()
}

// session are the living processes of a session.
func session(leader int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is a good one
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // ended in between
		}
		// pid (name) state ppid pgrp session …
		text := string(b)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if fields[0] == "Z" || fields[3] != strconv.Itoa(leader) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// interrupt is what a terminal does at Ctrl-C: to the whole foreground group.
func (m *makeRun) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-m.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
}

// printed runs a line of the output as a person would, and returns what it said.
func printed(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", line)
	cmd.WaitDelay = time.Second
	stop := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s\n%v\n%s", line, err, out)
	}
	return string(out)
}

func TestPrintedLinesWorkAndCtrlCLeavesNothing(t *testing.T) {
	client := freePort(t)
	m := start(t, client, freePort(t))
	lines := m.until(t, lastLine)
	if all := strings.Join(lines, "\n"); !strings.Contains(all, client.String()) {
		t.Errorf("it does not say where clients go:\n%s", all)
	}
	after := func(comment string) string {
		for i, l := range lines[:len(lines)-1] {
			if strings.HasPrefix(l, "# "+comment) {
				return lines[i+1]
			}
		}
		t.Fatalf("no line after # %s:\n%s", comment, strings.Join(lines, "\n"))
		return ""
	}
	for _, c := range []struct{ comment, want string }{
		{"a plain answer", `(?s)^HTTP/1.1 200 OK.*x-provider: \w+.*"object":"chat\.completion"`},
		{"a streamed one", `(?s)^data: \{.*"provider":"\w+".*data: \[DONE\]`},
		{"a failover", `(?s)^HTTP/1.1 200 OK.*x-attempts: [2-9]`},
		{"what is billed", `"shunt\.usage\.v1"`},
	} {
		line := after(c.comment)
		out := printed(t, line)
		// The event of a request follows its answer.
		for end := time.Now().Add(patience); strings.HasPrefix(line, "cat ") && out == "" && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond) // there is nothing to wait on but the file
			out = printed(t, line)
		}
		if !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("%s\nwant %s, got\n%s", line, c.want, out)
		}
	}
	m.interrupt(t)
	m.end(t)
	l, err := net.Listen("tcp", client.String())
	if err != nil {
		t.Fatalf("the port is not free again: %v", err)
	}
	_ = l.Close()
}

func TestInterruptedWhileItStarts(t *testing.T) {
	m := start(t, freePort(t), freePort(t))
	for {
		s, err := m.out.ReadString('\n')
		m.said.WriteString(s)
		if err != nil {
			t.Fatalf("the output ended:\n%s", m.said.String())
		}
		if strings.HasPrefix(s, "PROVIDER") { // shunt starts next
			break
		}
	}
	m.interrupt(t)
	m.end(t)
}

func TestSaysWhichPortIsTaken(t *testing.T) {
	for _, which := range []string{"client", "admin"} {
		t.Run(which, func(t *testing.T) {
			l := listen(t)
			defer func() { _ = l.Close() }()
			client, admin := freePort(t), l.Addr()
			if which == "client" {
				client, admin = admin, client
			}
			m := start(t, client, admin)
			if code := m.end(t); code == 0 {
				t.Error("make run succeeded")
			}
			for _, want := range []string{l.Addr().String(), "in use", "PORT="} {
				if !strings.Contains(m.said.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, m.said.String())
				}
			}
		})
	}
}

func TestTerminated(t *testing.T) {
	m := start(t, freePort(t), freePort(t))
	m.until(t, lastLine)
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.end(t)
}
