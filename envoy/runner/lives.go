package runner

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// bindGrace: what Envoy says of a failure to bind may be read a little after it
// reports that it serves. Later than that the failure is a reload's, and the old
// listeners go on.
const bindGrace = time.Second

// lives is a sequence of Envoys, one after the other.
type lives struct {
	r     *Runner
	dir   *runDir
	guard *guard
}

// errHung: Envoy was alive, but its admin interface did not answer.
var errHung = errors.New("hung")

// live keeps an Envoy running until ctx ends or nothing helps.
func (l *lives) live(ctx context.Context) error {
	r := l.r
	var d deaths
	for {
		c, err := r.spawn(l.dir)
		if err != nil {
			return err
		}
		l.watch(c)
		cause, err := l.one(ctx, c)
		if cause == nil {
			return err
		}
		now := r.now()
		next, wait, again := r.opt.Restart.next(d, now, now.Sub(c.started))
		if !again {
			within := now.Sub(next.at[0]).Round(time.Millisecond)
			return &GaveUpError{Deaths: len(next.at), Within: within, Last: cause.Error(), Tail: c.log.lastWords()}
		}
		d = next
		r.opt.Logger.Error("Envoy died; starting it again", "cause", cause, "uptime", now.Sub(c.started), "wait", wait)
		r.enter(Restarting, 0, cause)
		if r.sleep(ctx, wait); ctx.Err() != nil {
			return nil
		}
	}
}

// one watches an Envoy until its end. A cause asks for another one; without a
// cause the error, or nil, is Run's.
func (l *lives) one(ctx context.Context, c *child) (cause, err error) {
	r := l.r
	r.setPID(c.cmd.Process.Pid)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	live := make(chan error, 1)
	go func() { live <- r.awaitLive(watching) }()
	var serving time.Time
	var guardDied <-chan struct{} = l.guard.died
	for {
		select {
		case <-ctx.Done():
			return nil, l.stop(c)
		case <-c.exited:
			if be := c.bindFailure(); be != nil && serving.IsZero() {
				return nil, be
			}
			return errors.New(c.epitaph()), nil
		case be := <-c.bind:
			if !serving.IsZero() && r.now().Sub(serving) > bindGrace {
				r.opt.Logger.Error("a new configuration wants an address that is not to be had", "error", be)
				continue
			}
			return nil, errors.Join(be, l.kill(c))
		case err := <-live:
			if err != nil {
				if kerr := l.kill(c); kerr != nil {
					return nil, kerr
				}
				return err, nil
			}
			serving, live = r.now(), nil
			r.enter(Running, c.cmd.Process.Pid, nil)
			r.opt.Logger.Info("Envoy serves", "pid", c.cmd.Process.Pid, "after", serving.Sub(c.started))
		case <-guardDied:
			guardDied = l.newGuard(c)
		}
	}
}

// awaitLive returns nil when Envoy first serves, errHung if it does not answer
// at all. Waiting for its configuration it may take as long as it likes.
func (r *Runner) awaitLive(ctx context.Context) error {
	deadline := time.Now().Add(r.opt.Start)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	answered := false
	for {
		err := r.admin.ready(ctx)
		if err == nil {
			return nil
		}
		answered = answered || notLive(err)
		if !answered && time.Now().After(deadline) {
			return fmt.Errorf("%w: no answer within %v of its start", errHung, r.opt.Start)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// stop ends an Envoy gracefully.
func (l *lives) stop(c *child) error {
	r := l.r
	r.enter(Stopping, c.cmd.Process.Pid, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-r.hurry:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := ending{Drain: r.opt.Drain, Linger: r.opt.Linger, Kill: r.opt.Kill}.end(ctx, l.dir.socket, c)
	if errors.Is(err, errImmortal) {
		return fmt.Errorf("stopping Envoy: %w", err)
	}
	if err != nil {
		r.opt.Logger.Warn("Envoy was stopped, but not gracefully", "error", err)
	}
	return nil
}

// kill ends an Envoy that has nothing to lose.
func (l *lives) kill(c *child) error {
	_ = c.signal(syscall.SIGKILL)
	if !waitGone(c, l.r.opt.Kill) {
		return fmt.Errorf("stopping Envoy: %w", errImmortal)
	}
	return nil
}

// watch puts an Envoy under guard.
func (l *lives) watch(c *child) {
	pid, o := c.cmd.Process.Pid, l.r.opt
	t := target{
		PID: pid, Start: procStart(pid), Admin: l.dir.socket,
		Ending: ending{Drain: o.Orphan, Linger: o.Linger, Kill: o.Kill},
	}
	if err := errors.Join(l.dir.record(t, l.guard), l.guard.watch(t)); err != nil {
		o.Logger.Warn("Envoy will outlive shunt, should shunt be killed", "error", err)
	}
}

// newGuard replaces a guard that died. It returns what to wait on for the next
// time: nothing, if there is no new guard before the next Envoy.
func (l *lives) newGuard(c *child) <-chan struct{} {
	log := l.r.opt.Logger
	g, err := startGuard()
	if err != nil {
		log.Warn("Envoy's guard died: Envoy will outlive shunt, should shunt be killed", "error", err)
		return nil
	}
	l.guard.leave()
	l.guard = g
	l.watch(c)
	log.Warn("Envoy's guard died; there is a new one", "pid", g.proc.Pid)
	return g.died
}

// enter changes the state. While an Envoy comes back the state stays Restarting.
func (r *Runner) enter(s State, pid int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s == Restarting {
		r.status.Restarts++
	}
	r.status.State, r.status.Since, r.status.PID, r.status.Err = s, r.now(), pid, err
}

func (r *Runner) setPID(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.PID = pid
}
