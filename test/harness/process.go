package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Signal sends a signal to shunt alone, not to its Envoy.
func (s *Shunt) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.Cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal %v: %v", sig, err)
	}
}

// Stall stops shunt, all threads of it, as SIGSTOP does, until it gets SIGCONT.
func (s *Shunt) Stall(t testing.TB) {
	t.Helper()
	s.Signal(t, syscall.SIGSTOP)
	Eventually(t, "every thread of shunt stands still", func() error {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.Cmd.Process.Pid))
		for _, path := range stats {
			if stat, _ := os.ReadFile(path); state(stat) != "T" {
				return fmt.Errorf("%s is in state %s", path, state(stat))
			}
		}
		return err
	})
}

// state is a process's, or a thread's, by its stat file.
func state(stat []byte) string {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// Process is a process that shunt started.
type Process struct {
	PID  int
	Name string // the last element of its command: envoy, shunt-envoy-guard
}

// Children are the processes that shunt has started: its Envoy and the guard. It reads
// /proc.
func (s *Shunt) Children(t testing.TB) []Process {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatalf("no processes in /proc: %v", err)
	}
	var out []Process
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(s.Cmd.Process.Pid) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		name, _, _ := strings.Cut(string(cmdline), "\x00")
		out = append(out, Process{pid, filepath.Base(name)})
	}
	return out
}

// WaitGone waits until processes have ended.
func WaitGone(t testing.TB, all []Process) {
	t.Helper()
	for _, p := range all {
		Eventually(t, fmt.Sprintf("%s (%d) ends", p.Name, p.PID), func() error {
			if syscall.Kill(p.PID, 0) == nil && !zombie(p.PID) {
				return errors.New("it is there")
			}
			return nil
		})
	}
}

// zombie: it has ended, and whoever adopted it has not asked yet.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && state(stat) == "Z"
}

// Leftovers are what a shunt that has ended left behind and should not have: sockets,
// and a port that is still taken.
func (s *Shunt) Leftovers(t testing.TB) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSocket != 0 {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{s.URL, s.Admin} {
		l, err := net.Listen("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		_ = l.Close()
	}
	return out
}

// Command is shunt with these arguments, for what Run does not do.
func Command(args ...string) *exec.Cmd { return exec.Command(Binary, args...) }
