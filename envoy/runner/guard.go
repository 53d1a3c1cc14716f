package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// guardName is the guard's argv[0], by which it knows what it is.
const guardName = "shunt-envoy-guard"

// guardStart bounds the guard's start.
const guardStart = 20 * time.Second

// target is what the guard is told to end: a line of JSON on its standard
// input. The zero target is none.
type target struct {
	PID    int
	Start  string // see procStart; "" where it is unknown
	Admin  string // socket of the admin interface, in the run directory
	Ending ending
}

func (t target) alive(proc *os.Process) bool {
	if t.Start != "" {
		return procStart(t.PID) == t.Start
	}
	return proc.Signal(syscall.Signal(0)) == nil
}

// GuardMain does nothing, unless this process was started as the guard of an
// Envoy (see the package's documentation): then it is one, and does not return.
// It comes first in main, and in TestMain.
func GuardMain() {
	if len(os.Args) == 0 || os.Args[0] != guardName {
		return
	}
	// What ends shunt on a terminal must not end the guard: it ends when the
	// pipe closes.
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM)
	guardLoop(os.Stdin, os.Stdout)
	os.Exit(0)
}

func guardLoop(in io.Reader, out io.Writer) {
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return // whoever started this is gone already
	}
	var t target
	for dec := json.NewDecoder(in); ; {
		var next target
		if dec.Decode(&next) != nil {
			break
		}
		t = next
	}
	if t.PID == 0 {
		return
	}
	if p, ok := adopt(t); ok {
		_ = t.Ending.end(context.Background(), t.Admin, p) // nobody is left to tell
	}
	_ = os.Remove(t.Admin)
	// With no new Runner in the directory, what the old one left is nobody's.
	if d, err := openRunDir(filepath.Dir(t.Admin)); err == nil {
		d.close()
	}
}

// guard is the Runner's end of a guard.
type guard struct {
	in   *os.File
	proc *os.Process
	died chan struct{} // closed when it ended, wanted or not
}

// startGuard returns once the guard listens.
func startGuard() (*guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	in, toGuard, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	defer func() { _ = in.Close() }()
	fromGuard, out, err := os.Pipe()
	if err != nil {
		_ = toGuard.Close()
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	defer func() { _ = fromGuard.Close() }()
	cmd := &exec.Cmd{
		Path: self, Args: []string{guardName}, Dir: "/", Env: cleanEnv([]string{"GOMAXPROCS=1"}),
		Stdin: in, Stdout: out,
		// A group of its own: Ctrl-C on a terminal is for shunt alone.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	err = cmd.Start()
	_ = out.Close()
	if err != nil {
		_ = toGuard.Close()
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	g := &guard{in: toGuard, proc: cmd.Process, died: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(g.died)
	}()
	if err := readReady(fromGuard); err != nil {
		_ = g.proc.Kill()
		_ = toGuard.Close()
		<-g.died
		return nil, fmt.Errorf("starting the guard: %w", err)
	}
	return g, nil
}

func readReady(from *os.File) error {
	if err := from.SetReadDeadline(time.Now().Add(guardStart)); err != nil {
		return err
	}
	line, err := bufio.NewReader(from).ReadString('\n')
	if err != nil || line != "ready\n" {
		return errors.Join(fmt.Errorf("it said %q instead of being ready: does main call runner.GuardMain first?", line), err)
	}
	return nil
}

// watch tells the guard which Envoy is now its own.
func (g *guard) watch(t target) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := g.in.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("telling the guard of Envoy: %w", err)
	}
	return nil
}

// dismiss says goodbye: there is nothing left to guard.
func (g *guard) dismiss() {
	_ = g.watch(target{}) // fails if it died, and then there is nobody to dismiss
	_ = g.in.Close()
	t := time.NewTimer(guardStart)
	defer t.Stop()
	select {
	case <-g.died:
	case <-t.C:
		_ = g.proc.Kill()
		<-g.died
	}
}

// leave closes the pipe without a goodbye: the guard begins to end its Envoy.
func (g *guard) leave() { _ = g.in.Close() }
