package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopTime is how long a child may take to end before it is killed.
const stopTime = 15 * time.Second

// child is a process that this program started.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer     // its end asks this program's own roles to end
	stdout *bufio.Reader // of this program's own roles
	log    string        // file with its standard error
	exited chan struct{}
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// start runs a command in dir with its standard error in a file there. It must be
// called on the main thread.
func start(dir, name, path string, args ...string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(path, args...), log: filepath.Join(dir, name+".log"), exited: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd.Dir, c.cmd.Stderr = dir, log
	// A group of its own: Ctrl-C on a terminal is for this program alone.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if len(args) == 1 && strings.HasPrefix(args[0], "role-") {
		in, err := c.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := c.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		c.stdin, c.stdout = in, bufio.NewReader(out)
	} else {
		c.cmd.Stdout = log
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if c.stdout == nil {
		go c.wait()
	}
	return c, nil
}

func (c *child) wait() {
	_ = c.cmd.Wait() // how it ended is in ProcessState
	close(c.exited)
}

// line reads the line in which a role says that it is ready; then it may end.
func (c *child) line() (string, error) {
	text, err := c.stdout.ReadString('\n')
	go c.wait()
	if err != nil {
		return "", fmt.Errorf("%s is not ready: %w; %s", c.name, err, c.tail())
	}
	return strings.TrimSpace(text), nil
}

// stop ends the process and what it started, all by pid.
func (c *child) stop() {
	below := descendants(c.pid())
	if c.stdin != nil {
		_ = c.stdin.Close()
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(stopTime)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
		fmt.Fprintf(os.Stderr, "%s (%d) did not end within %v: killed\n", c.name, c.pid(), stopTime)
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
	for _, p := range below {
		if p.alive() {
			fmt.Fprintf(os.Stderr, "%s left a process behind: %s (%d): killed\n", c.name, p.exe, p.pid)
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}

// tail is the end of its log, for an error.
func (c *child) tail() string {
	text, err := os.ReadFile(c.log)
	if err != nil || len(text) == 0 {
		return "its log is empty"
	}
	const most = 3000
	return "its log ends:\n" + string(text[max(0, len(text)-most):])
}

// until calls ready every 20 ms until it is nil. It fails when the process ends,
// ctx does, or 30 s have passed.
func (c *child) until(ctx context.Context, ready func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("30s have passed"))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("%s ended (%v); %s", c.name, c.cmd.ProcessState, c.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %w; %s", c.name, context.Cause(ctx), err, c.tail())
		case <-tick.C:
		}
	}
}

// proc is a process, told from a later one with its pid by its start time.
type proc struct {
	pid     int
	exe     string
	started string
}

func (p proc) alive() bool {
	now, err := readStat(p.pid)
	return err == nil && now.started == p.started && now.state != "Z"
}

// descendants returns the processes below pid.
func descendants(pid int) (all []proc) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		for _, field := range strings.Fields(string(text)) {
			below, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			s, err := readStat(below)
			if err != nil {
				continue // it ended
			}
			exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", below)) // "" for another user's
			all = append(append(all, proc{below, exe, s.started}), descendants(below)...)
		}
	}
	return all
}

// stat is what /proc/PID/stat says.
type stat struct {
	state   string
	cpu     time.Duration // user and system
	started string
}

// tick is the unit of CPU times: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	return parseStat(string(text))
}

func parseStat(text string) (stat, error) {
	// The name is in parentheses and may hold anything.
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 20 {
		return stat{}, fmt.Errorf("reading a process's stat: %q has too few fields", text)
	}
	var ticks int64
	for _, field := range f[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("reading a process's stat: %w", err)
		}
		ticks += n
	}
	return stat{state: f[0], cpu: time.Duration(ticks) * tick, started: f[19]}, nil
}

// cpu sums the CPU time of processes.
func cpu(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		s, err := readStat(pid)
		if err != nil {
			return 0, err
		}
		sum += s.cpu
	}
	return sum, nil
}

// rss is the resident memory of a process in bytes.
func rss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
