package sinks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// file is what a lineFile needs of an *os.File.
type file interface {
	io.Writer
	Stat() (fs.FileInfo, error)
	Sync() error
	Close() error
}

type opener func(path string) (file, error)

// lineFile appends whole lines to whatever file is at its path.
type lineFile struct {
	path string
	open opener
	f    file        // nil: none open
	info fs.FileInfo // of f
	size int64       // of f, by our own count after opening it
	day  string      // of the last write to f (UTC); of its last change, if that was not ours
	torn int         // bytes in f of a line that a write began and did not end
}

// ready opens the file if there is none open, or if another stands at the path
// now.
func (l *lineFile) ready() error {
	if l.f != nil {
		if !l.info.Mode().IsRegular() {
			return nil // a device or pipe is not rotated
		}
		if now, err := os.Stat(l.path); err == nil && os.SameFile(now, l.info) {
			return nil
		}
		if err := l.close(); err != nil {
			return err
		}
	}
	l.torn = 0
	f, err := l.open(l.path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.info, l.size, l.day = f, info, info.Size(), ""
	if l.size > 0 {
		l.day = dayOf(info.ModTime())
	}
	return nil
}

// write appends buf, which is whole lines. On an error it returns the lines that
// are not wholly written. The first of them may be begun: the next write finishes
// it, or writes all of it where the file is another by then.
func (l *lineFile) write(buf []byte) (rest []byte, err error) {
	if err := l.ready(); err != nil {
		return buf, err
	}
	n, err := l.f.Write(buf[l.torn:])
	l.size += int64(n)
	n += l.torn
	l.torn = 0
	if err == nil {
		return nil, nil
	}
	start := bytes.LastIndexByte(buf[:n], '\n') + 1
	l.torn = n - start
	return buf[start:], err
}

// sync flushes what was written to the disk.
func (l *lineFile) sync() error {
	if l.f == nil || !l.info.Mode().IsRegular() {
		return nil
	}
	return l.f.Sync()
}

func (l *lineFile) close() error {
	if l.f == nil {
		return nil
	}
	syncErr, f := l.sync(), l.f
	l.f, l.info = nil, nil
	return errors.Join(syncErr, f.Close())
}

// openLine opens path for appending, private to the user, and ends a last line
// that a crash left torn, so that the next event begins on its own.
func openLine(path string) (file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := prepare(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

func prepare(f *os.File) error {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	if info.Mode().Perm() != 0o600 {
		if err := f.Chmod(0o600); err != nil {
			return err
		}
	}
	if info.Size() == 0 {
		return nil
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
	}
	return err
}
