package runner

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Files in a run directory.
const (
	lockFile      = "lock"
	bootstrapFile = "bootstrap.yaml"
	recordFile    = "envoy.json"
)

// maxSocket is how long a Unix socket's path may be, its final zero left out.
const maxSocket = 107

// runDir is a Runner's private directory. It is locked while the Runner lives.
type runDir struct {
	path   string
	lock   *os.File
	socket string // of Envoy's admin interface
}

// record is what the directory says of the Envoy that runs from it.
type record struct {
	Target target
	Guard  int // its pid, for people who look at processes
}

// checkRunDir tells what can be told of a run directory before it exists.
func checkRunDir(path string) (string, error) {
	if path == "" {
		return "", errors.New("no run directory was given")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("run directory %s: %w", path, err)
	}
	if n := len(socketIn(abs, strings.Repeat("x", socketID))); n > maxSocket {
		return "", fmt.Errorf("run directory %s: its sockets' paths would be %d bytes long, the system allows %d; choose a shorter one", abs, n, maxSocket)
	}
	return abs, nil
}

// socketID is the length of a socket's name, which is kept short: see maxSocket.
const socketID = 5

func socketIn(dir, id string) string { return filepath.Join(dir, id+".sock") }

// openRunDir makes the directory, if need be, and locks it. ErrInUse: somebody
// else has.
func openRunDir(path string) (*runDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("making the run directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("looking at the run directory: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("run directory %s: its mode is %#o, others than its owner may look in; want 0700", path, perm)
	}
	lock, err := lockIn(path)
	if err != nil {
		return nil, err
	}
	return &runDir{path: path, lock: lock, socket: newSocket(path)}, nil
}

// newSocket is a name that nobody has yet: an earlier Envoy may still drain beside
// the one to come, and its guard must not reach the wrong one.
func newSocket(dir string) string {
	for {
		s := socketIn(dir, rand.Text()[:socketID])
		if _, err := os.Lstat(s); err != nil {
			return s
		}
	}
}

func lockIn(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("locking the run directory: %w", err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			holder, _ := os.ReadFile(name)
			_ = f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("%w: %s, by process %s", ErrInUse, dir, holder)
			}
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		// The last holder removes the file before it lets go: was it this one?
		mine, err1 := f.Stat()
		there, err2 := os.Stat(name)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			_ = f.Truncate(0)
			_, _ = f.WriteString(strconv.Itoa(os.Getpid())) // only for the message above
			return f, nil
		}
		_ = f.Close()
	}
}

func (d *runDir) file(name string) string { return filepath.Join(d.path, name) }

// write replaces a file of the directory's, readable by its owner only.
func (d *runDir) write(name string, b []byte) error {
	tmp := d.file(name + ".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("writing the run directory: %w", err)
	}
	if err := os.Rename(tmp, d.file(name)); err != nil {
		return fmt.Errorf("writing the run directory: %w", err)
	}
	return nil
}

func (d *runDir) record(t target, g *guard) error {
	b, err := json.Marshal(record{Target: t, Guard: g.proc.Pid})
	if err != nil {
		return err
	}
	return d.write(recordFile, b)
}

// orphan is the living Envoy of a Runner that was killed.
func (d *runDir) orphan() (t target, ok bool) {
	b, err := os.ReadFile(d.file(recordFile))
	if err != nil {
		return target{}, false
	}
	var r record
	// A start that is unknown names no process, only a number that may have
	// found a new owner.
	if json.Unmarshal(b, &r) != nil || r.Target.Start == "" {
		return target{}, false
	}
	if procStart(r.Target.PID) != r.Target.Start {
		_ = os.Remove(r.Target.Admin)
		return target{}, false
	}
	return r.Target, true
}

// close removes everything and unlocks the directory.
func (d *runDir) close() {
	for _, f := range []string{d.socket, d.file(bootstrapFile), d.file(recordFile), d.file(lockFile)} {
		_ = os.Remove(f) // most often there; nothing can be done where it is not
	}
	_ = os.Remove(d.path) // fails if something else is in it, and then it stays
	_ = d.lock.Close()
}
