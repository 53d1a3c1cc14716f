package accesslog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// part is one file of the journal, open for as long as something may still be
// written to it, whatever it is called by now.
type part struct {
	f     *os.File
	path  string
	off   int64 // what is before it has been read
	lines splitter
	grew  time.Time // when something was last found
	left  time.Time // when another file took its place; zero: none has
	// stray: an Envoy of an earlier shunt may have it open.
	stray bool
}

func openPart(path string, now time.Time) (*part, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &part{f: f, path: path, grew: now}, nil
}

// same reports whether the part is the file that stands at path. One that is not there
// is no other.
func (p *part) same(path string) (bool, error) {
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return true, err
	}
	mine, err := p.f.Stat()
	if err != nil {
		return true, err
	}
	return os.SameFile(there, mine), nil
}

// cut reports whether the file was truncated, and begins it anew then.
func (p *part) cut() (bool, error) {
	info, err := p.f.Stat()
	if err != nil || info.Size() >= p.off {
		return false, err
	}
	p.off = 0
	p.lines.reset()
	return true, nil
}

// read hands on what was written since the last time, until the end of the file or
// until stop says so.
func (p *part) read(buf []byte, now time.Time, stop func() bool, line func([]byte), long func()) error {
	for !stop() {
		n, err := p.f.ReadAt(buf, p.off)
		if n > 0 {
			p.off += int64(n)
			p.grew = now
			p.lines.feed(buf[:n], line, long)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", p.path, err)
		}
	}
	return nil
}
