package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lock makes sure that one shunt alone uses a data_dir. The system gives the lock
// back when the process ends, however it ends.
func (a *app) lock(dataDir string) error {
	path := filepath.Join(dataDir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return environmentError{fmt.Errorf("lock data_dir: %w", err)}
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		return environmentError{errors.Join(
			fmt.Errorf("data_dir %s is in use by another shunt (pid %s); give this one its own", dataDir, strings.TrimSpace(string(holder))),
			f.Close())}
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		return environmentError{errors.Join(fmt.Errorf("lock data_dir: %w", err), f.Close())}
	}
	a.up("data_dir lock", func(context.Context) error { return f.Close() })
	return nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(fmt.Sprintln(os.Getpid())), 0)
	return err
}
