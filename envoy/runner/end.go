package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ending bounds each step of an Envoy's end.
type ending struct {
	Drain  time.Duration // for the requests in flight
	Linger time.Duration // without any, before the end
	Kill   time.Duration // between SIGTERM and SIGKILL
}

// reap bounds the wait after SIGKILL, which no process can put off: only a machine
// that is busy can, or a kernel that holds the process.
const reap = 10 * time.Second

// process is an Envoy, be it a child or not.
type process interface {
	signal(os.Signal) error
	gone() <-chan struct{}
}

// end drains the Envoy whose admin interface is at socket, asks it to end, and
// kills it if it does not. When ctx ends, so does the draining. The error says
// which step did not work; only errImmortal leaves a process behind.
func (e ending) end(ctx context.Context, socket string, p process) error {
	ctx, cancel := context.WithTimeout(ctx, e.Drain)
	defer cancel()
	go func() {
		select {
		case <-p.gone():
			cancel()
		case <-ctx.Done():
		}
	}()
	err := newAdmin(socket).drain(ctx, e.Linger)
	if waitGone(p, 0) {
		return nil
	}
	_ = p.signal(syscall.SIGTERM) // a process that has just gone is no fault
	if waitGone(p, e.Kill) {
		return err
	}
	err = errors.Join(err, fmt.Errorf("killed: still there %v after SIGTERM", e.Kill))
	_ = p.signal(syscall.SIGKILL)
	if !waitGone(p, reap) {
		err = errors.Join(err, errImmortal)
	}
	return err
}

// errImmortal: the kernel holds the process, in a hung file system say.
var errImmortal = errors.New("still there after SIGKILL")

func waitGone(p process, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-p.gone():
		return true
	default:
	}
	select {
	case <-p.gone():
		return true
	case <-t.C:
		return false
	}
}

// foreign is an Envoy that another process started.
type foreign struct {
	proc *os.Process
	end  chan struct{}
}

// adopt finds the process that t names; ok is false if it is gone.
func adopt(t target) (f *foreign, ok bool) {
	// FindProcess pins the process where the kernel can, so the order matters:
	// first pin, then look whether it is the right one.
	proc, err := os.FindProcess(t.PID)
	if err != nil || !t.alive(proc) {
		return nil, false
	}
	f = &foreign{proc: proc, end: make(chan struct{})}
	go func() {
		defer close(f.end)
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for t.alive(proc) {
			<-tick.C
		}
	}()
	return f, true
}

func (f *foreign) signal(s os.Signal) error { return f.proc.Signal(s) }
func (f *foreign) gone() <-chan struct{}    { return f.end }
