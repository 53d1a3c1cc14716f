package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say how to run an Envoy.
type Options struct {
	Binary string // Envoy's path, as Find gave it
	// Bootstrap is what Envoy is started on, YAML or JSON. It must hold no
	// secret: Envoy prints all of a bootstrap that it cannot read. Its admin
	// section is replaced: see Runner.Admin.
	Bootstrap []byte
	// RunDir is a directory for this Runner alone. It is made 0700 if it does not
	// exist, and removed at a clean end if it is empty then. Two Runners cannot
	// share one; a Runner that follows a killed one should have the same, since it
	// finds the other's Envoy there.
	RunDir string
	// Listen are the addresses, host:port, that Envoy will listen on. They are
	// tried before its first start: Envoys share a port without a word
	// (SO_REUSEPORT), and half of the requests would go elsewhere.
	Listen      []string
	Concurrency int    // worker threads; 0: one a hardware thread
	LogLevel    string // info, warning (default), error, critical or off
	// FileFlush is how often Envoy flushes its log files; 0: as it likes, every 10 s.
	FileFlush time.Duration
	Env       []string
	Logger    *slog.Logger // default slog.Default()

	Drain  time.Duration // longest wait for requests in flight when Run is told to end. Default 10 s.
	Orphan time.Duration // the same after this process was killed. Default 5 min.
	// Linger is how long Envoy must have been without a request before it is
	// ended. Longer than the access log's flush interval, or the last requests'
	// records are lost. Default 250 ms.
	Linger  time.Duration
	Kill    time.Duration // between SIGTERM and SIGKILL. Default 5 s.
	Start   time.Duration // an Envoy whose admin interface does not answer in so long is hung. Default 30 s.
	Restart RestartPolicy
}

// State is where an Envoy is in its life.
type State uint8

// The states. Restarting lasts from a death until the next Envoy serves.
const (
	Starting State = iota
	Running
	Restarting
	Stopping
	Stopped
	Failed
)

// String returns the name that logs and /readyz use.
func (s State) String() string {
	return [...]string{"starting", "running", "restarting", "stopping", "stopped", "failed"}[s]
}

// Status is a Runner at one moment.
type Status struct {
	State    State
	Since    time.Time // of State
	PID      int       // 0: no Envoy at this moment
	Restarts int
	Err      error // Restarting: why the last Envoy ended. Failed: what Run returned.
}

// Runner keeps one Envoy running.
type Runner struct {
	opt   Options
	now   func() time.Time
	sleep func(context.Context, time.Duration) // returns early when the context ends
	hurry chan struct{}
	once  sync.Once

	mu     sync.Mutex
	status Status
	admin  *admin
}

// New checks the options. It starts nothing.
func New(opt Options) (*Runner, error) {
	opt.LogLevel = orDefault(opt.LogLevel, "warning")
	opt.Logger = orDefault(opt.Logger, slog.Default())
	opt.Drain = orDefault(opt.Drain, 10*time.Second)
	opt.Orphan = orDefault(opt.Orphan, 5*time.Minute)
	opt.Linger = orDefault(opt.Linger, 250*time.Millisecond)
	opt.Kill = orDefault(opt.Kill, 5*time.Second)
	opt.Start = orDefault(opt.Start, 30*time.Second)
	opt.Restart = opt.Restart.withDefaults()
	if opt.Binary == "" {
		return nil, errors.New("no Envoy was given")
	}
	switch opt.LogLevel {
	case "info", "warning", "error", "critical", "off":
	case "trace", "debug":
		return nil, fmt.Errorf("log level %s: Envoy would print request headers, keys among them; use info or less", opt.LogLevel)
	default:
		return nil, fmt.Errorf("log level %q: want info, warning, error, critical or off", opt.LogLevel)
	}
	var err error
	if opt.RunDir, err = checkRunDir(opt.RunDir); err != nil {
		return nil, err
	}
	r := &Runner{opt: opt, now: time.Now, sleep: sleep, hurry: make(chan struct{})}
	r.status.Since = r.now()
	return r, nil
}

// Run starts Envoy, keeps it running, and blocks. When ctx ends it drains and
// stops Envoy, within Drain + Kill + 10 s and a little, and returns nil. Any other
// return is an error, with Envoy stopped: a *BindError, ErrInUse, a *GaveUpError.
// It is called once.
func (r *Runner) Run(ctx context.Context) error {
	err := r.run(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = Status{State: Stopped, Since: r.now(), Restarts: r.status.Restarts, Err: err}
	if err != nil {
		r.status.State = Failed
	}
	return err
}

// Hurry cuts the draining short, now or later.
func (r *Runner) Hurry() { r.once.Do(func() { close(r.hurry) }) }

// Status may be called at any time, by any goroutine.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Ready is nil if Envoy serves at this moment: it asks Envoy itself.
func (r *Runner) Ready(ctx context.Context) error {
	r.mu.Lock()
	st, adm := r.status, r.admin
	r.mu.Unlock()
	if st.State != Running {
		return errors.Join(fmt.Errorf("not ready: Envoy is %v", st.State), st.Err)
	}
	return adm.ready(ctx)
}

// ReopenLogs makes Envoy open its log files by their names again: what comes after a
// rename goes to a new file.
func (r *Runner) ReopenLogs(ctx context.Context) error {
	r.mu.Lock()
	adm := r.admin
	r.mu.Unlock()
	if adm == nil {
		return errors.New("making Envoy open its log files again: it was not started yet")
	}
	return adm.reopen(ctx)
}

// Admin is the Unix socket of Envoy's admin interface: a file in RunDir that its
// owner alone can open. "" before Run.
func (r *Runner) Admin() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admin == nil {
		return ""
	}
	return r.admin.socket
}

func (r *Runner) run(ctx context.Context) error {
	dir, err := openRunDir(r.opt.RunDir)
	if err != nil {
		return err
	}
	defer dir.close()
	patience := time.Duration(0)
	if r.takeOver(dir) {
		patience = r.opt.Kill
	}
	if err := waitFree(ctx, r.opt.Listen, patience); err != nil {
		return err
	}
	if err := dir.write(bootstrapFile, r.opt.Bootstrap); err != nil {
		return err
	}
	r.mu.Lock()
	r.admin = newAdmin(dir.socket)
	r.mu.Unlock()
	g, err := startGuard()
	if err != nil {
		return err
	}
	l := &lives{r: r, dir: dir, guard: g}
	err = l.live(ctx)
	if errors.Is(err, errImmortal) {
		l.guard.leave() // it tries on
		return err
	}
	l.guard.dismiss()
	return err
}

// takeOver sees to it that the Envoy of a Runner that was killed, if there is
// one, makes room. It does not wait for its end. Most often that Envoy's own
// guard is at it already; a second one does no harm, and the first may have been
// killed as well.
func (r *Runner) takeOver(dir *runDir) bool {
	t, ok := dir.orphan()
	if !ok {
		return false
	}
	log := r.opt.Logger.With("pid", t.PID)
	g, err := startGuard()
	if err != nil {
		log.Warn("an Envoy of a shunt that was killed is still there, and cannot be ended", "error", err)
		return true
	}
	defer g.leave()
	if err := g.watch(t); err != nil {
		log.Warn("an Envoy of a shunt that was killed is still there, and cannot be ended", "error", err)
		return true
	}
	log.Info("an Envoy of a shunt that was killed is ending its requests")
	return true
}

// waitFree returns nil once all addresses can be listened on.
func waitFree(ctx context.Context, addrs []string, patience time.Duration) error {
	until := time.Now().Add(patience)
	for _, addr := range addrs {
		for {
			err := tryListen(ctx, addr)
			if err == nil {
				break
			}
			if !errors.Is(err, ErrPortTaken) || time.Now().After(until) || ctx.Err() != nil {
				return err
			}
			sleep(ctx, pollEvery)
		}
	}
	return nil
}

func tryListen(ctx context.Context, addr string) error {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "0" {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		return l.Close()
	}
	var no syscall.Errno
	if errors.As(err, &no) {
		return &BindError{Address: addr, Reason: strings.ToLower(no.Error())}
	}
	return &BindError{Address: addr, Reason: err.Error()}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
