package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// pipeGrace is how long Envoy's standard error is read on after its end.
const pipeGrace = 2 * time.Second

// child is one Envoy that this process started.
type child struct {
	cmd     *exec.Cmd
	log     *logPipe
	started time.Time
	bind    chan *BindError // the first one
	exited  chan struct{}   // closed when it is gone and all of its log was read
}

// spawn starts an Envoy on the bootstrap in dir.
func (r *Runner) spawn(dir *runDir) (*child, error) {
	c := &child{started: r.now(), bind: make(chan *BindError, 1), exited: make(chan struct{})}
	c.log = &logPipe{log: r.opt.Logger, now: r.now, onBind: func(e *BindError) {
		select {
		case c.bind <- e:
		default:
		}
	}}
	c.cmd = exec.Command(r.opt.Binary, r.arguments(dir)...)
	c.cmd.Dir = dir.path
	c.cmd.Env = cleanEnv(r.opt.Env)
	c.cmd.Stderr = c.log
	c.cmd.WaitDelay = pipeGrace
	// A group of its own: Ctrl-C on a terminal is for shunt, which drains Envoy.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Envoy: %w", err)
	}
	go func() {
		_ = c.cmd.Wait() // how it ended is in ProcessState
		c.log.close()
		close(c.exited)
	}()
	return c, nil
}

func (r *Runner) arguments(dir *runDir) []string {
	args := []string{
		"-c", dir.file(bootstrapFile),
		"--config-yaml", adminConfig(dir.socket),
		"--disable-hot-restart",
		"--log-level", r.opt.LogLevel,
		"--log-format", logFormat,
		"--log-format-escaped",
	}
	if r.opt.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(r.opt.Concurrency))
	}
	if r.opt.FileFlush > 0 {
		args = append(args, "--file-flush-interval-msec", strconv.FormatInt(r.opt.FileFlush.Milliseconds(), 10))
	}
	return args
}

// adminConfig is merged over the bootstrap's admin section, whatever it says.
func adminConfig(socket string) string {
	type m = map[string]any
	b, err := json.Marshal(m{"admin": m{"address": m{"pipe": m{"path": socket, "mode": 0o600}}}})
	if err != nil {
		panic(err) // strings and a number
	}
	return string(b)
}

func (c *child) signal(s os.Signal) error { return c.cmd.Process.Signal(s) }
func (c *child) gone() <-chan struct{}    { return c.exited }

// bindFailure is not nil if Envoy said that it could not listen.
func (c *child) bindFailure() *BindError {
	select {
	case e := <-c.bind:
		return e
	default:
		return nil
	}
}

// epitaph is how it ended: "exit status 1", "signal: killed". Only after exited.
func (c *child) epitaph() string {
	if c.cmd.ProcessState == nil {
		return "no exit status"
	}
	return c.cmd.ProcessState.String()
}
