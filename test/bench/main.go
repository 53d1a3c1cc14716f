// Command bench measures what shunt adds to an Envoy: latency, CPU, failover and
// held streams. Everything is on loopback and only ratios within one run count.
//
//	go run . -envoy PATH [-root ../..] [-shunt PATH] [-rounds 5] [-duration 1500ms]
//
// The targets take turns in every round: the provider itself (direct), an Envoy
// with one route (plain), the same with an ext_proc server that answers constants
// (floor), and `shunt run`. A missed mark is printed and is no failure; a target
// that could not be measured is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	envoy, root, shunt string
	rounds             int
	duration           time.Duration
	held               int
	limit              time.Duration
}

func main() {
	if len(os.Args) == 2 { // a child of this program
		switch os.Args[1] {
		case roleProvider:
			os.Exit(exitCode(runProvider()))
		case roleFloor:
			os.Exit(exitCode(runFloor()))
		}
	}
	// Children are told of the death of the thread that started them, which must
	// therefore be one that lives as long as the program.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.envoy, "envoy", "", "Envoy binary (default $ENVOY, else envoy on PATH, else .cache/envoy of the repository)")
	flag.StringVar(&o.root, "root", "../..", "the repository, to build shunt from")
	flag.StringVar(&o.shunt, "shunt", "", "shunt binary (default: built from the repository)")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond, "of each measurement in a round")
	flag.IntVar(&o.held, "held", 3000, "streams held open at once")
	flag.DurationVar(&o.limit, "limit", 6*time.Minute, "the longest time that the whole may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	err := bench(ctx, &o)
	cancel()
	stop()
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// bench runs everything. What it starts has ended when it returns.
func bench(ctx context.Context, o *options) (err error) {
	envoy, err := findEnvoy(o)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "shunt-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	e := &env{dir: dir, envoy: envoy, options: o}
	defer e.stop()
	if err := e.startBaselines(ctx); err != nil {
		return err
	}
	shuntErr := e.startShunt(ctx)
	if shuntErr != nil {
		fmt.Fprintln(os.Stderr, "shunt is left out:", shuntErr)
	}
	r := &report{}
	r.header(ctx, e)
	if err := e.measure(ctx, r); err != nil {
		return err
	}
	r.print()
	if shuntErr != nil {
		return fmt.Errorf("shunt was NOT measured: %w", shuntErr)
	}
	return r.failure()
}

// findEnvoy resolves the binary: -envoy, $ENVOY, PATH, the repository's cache.
func findEnvoy(o *options) (string, error) {
	for _, path := range []string{o.envoy, os.Getenv("ENVOY")} {
		if path == "" {
			continue
		}
		if path, err := exec.LookPath(path); err == nil {
			return filepath.Abs(path)
		}
		return "", fmt.Errorf("finding Envoy: %q is not executable", path)
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return filepath.Abs(path)
	}
	for _, pattern := range []string{"envoy", "*/envoy", "*/*/*/envoy"} {
		found, err := filepath.Glob(filepath.Join(o.root, ".cache/envoy", pattern))
		if err != nil {
			return "", err
		}
		for i := len(found) - 1; i >= 0; i-- { // the newest version last
			if info, err := os.Stat(found[i]); err == nil && info.Mode().IsRegular() {
				return filepath.Abs(found[i])
			}
		}
	}
	return "", errors.New("finding Envoy: set -envoy or $ENVOY, or put envoy on PATH")
}
