package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing/audit"
)

// tailCommand follows the file sink.
func tailCommand() *cobra.Command {
	var flags configFlags
	var lines int
	show := prettyEvent
	follow := followFile
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "follow the events of the configuration's file sink",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines < 0 {
				return fmt.Errorf("-n %d: a number of lines, 0 or more", lines)
			}
			c, err := flags.load()
			if err != nil {
				return err
			}
			path, err := fileSinkOf(c)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return follow(ctx, path, lines, func(line []byte) error { return show(cmd.OutOrStdout(), line) })
		},
	}
	flags.add(cmd)
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "how many of the events that are there to begin with")
	cmd.Flags().BoolFunc("json", "print events as they stand in the file", when(func() { show = rawEvent }))
	cmd.Flags().BoolFunc("once", "print those and end, without following", when(func() { follow = lastLines }))
	return cmd
}

func fileSinkOf(c *catalog.Catalog) (string, error) {
	for _, s := range c.Billing.Sinks {
		if s.File != "" {
			return s.File, nil
		}
	}
	return "", inputError{errors.New("billing.sinks has no file to follow")}
}

func rawEvent(w io.Writer, line []byte) error {
	_, err := fmt.Fprintf(w, "%s\n", line)
	return err
}

func prettyEvent(w io.Writer, line []byte) error {
	e, err := audit.Parse(line)
	if err != nil {
		_, err = fmt.Fprintf(w, "(a line that is no event: %v)\n", err)
		return err
	}
	return audit.WriteLine(w, e)
}

// longestTail is how far back the last lines are looked for.
const longestTail = 4 << 20

// lastLines shows the last n lines of a file.
func lastLines(_ context.Context, path string, n int, show func([]byte) error) error {
	f := &follower{path: path}
	defer f.close()
	if err := f.open(); err != nil {
		return inputError{fmt.Errorf("read events: %w", err)}
	}
	return f.last(n, show)
}

// pollEvery is how often a file is looked at.
const pollEvery = 100 * time.Millisecond

// followFile shows the last n lines and then every new one, until ctx ends. It goes
// on with the new file where the old one was put aside, and waits for one that is
// not there yet.
func followFile(ctx context.Context, path string, n int, show func([]byte) error) error {
	f := &follower{path: path}
	defer f.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	err := f.open()
	if err == nil {
		err = f.last(n, show)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return inputError{fmt.Errorf("read events: %w", err)}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := f.poll(show); err != nil {
				return err
			}
		}
	}
}

// follower reads whole lines of whatever file is at its path.
type follower struct {
	path string
	f    *os.File // nil: none open
	at   int64    // how much of f was read
	rest []byte   // a line that has no end yet
}

func (f *follower) open() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	f.f, f.at, f.rest = file, 0, nil
	return nil
}

func (f *follower) close() {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
}

// last shows the last n lines that are whole.
func (f *follower) last(n int, show func([]byte) error) error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	f.at = max(info.Size()-longestTail, 0)
	cut := f.at > 0
	var lines [][]byte
	err = f.read(func(line []byte) error {
		if !cut {
			lines = append(lines, bytes.Clone(line))
		}
		cut = false
		return nil
	})
	if err != nil {
		return err
	}
	for _, line := range lines[max(len(lines)-n, 0):] {
		if err := show(line); err != nil {
			return err
		}
	}
	return nil
}

// poll shows what is new.
func (f *follower) poll(show func([]byte) error) error {
	now, err := os.Stat(f.path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return inputError{fmt.Errorf("follow events: %w", err)}
	}
	if f.f != nil {
		mine, err := f.f.Stat()
		if err != nil {
			return inputError{fmt.Errorf("follow events: %w", err)}
		}
		if mine.Size() < f.at {
			f.at, f.rest = 0, nil // cut short
		}
		if err := f.read(show); err != nil {
			return err
		}
		if missing || os.SameFile(now, mine) {
			return nil
		}
		f.close() // all of it was read, after the new one was there
	}
	if missing {
		return nil
	}
	if err := f.open(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return inputError{fmt.Errorf("follow events: %w", err)}
	}
	return f.read(show)
}

// read shows every line that has become whole.
func (f *follower) read(show func([]byte) error) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := f.f.ReadAt(buf, f.at)
		f.at += int64(n)
		f.rest = append(f.rest, buf[:n]...)
		for {
			line, rest, whole := bytes.Cut(f.rest, []byte{'\n'})
			if !whole {
				break
			}
			f.rest = rest
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if err := show(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return inputError{fmt.Errorf("read events: %w", err)}
		}
	}
}
