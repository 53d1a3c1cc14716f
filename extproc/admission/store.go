package admission

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// file is what a segment needs of an *os.File.
type file interface {
	Write(p []byte) (int, error)
	ReadAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// segment is one file of the log.
type segment struct {
	number uint64
	path   string
	f      file
	size   int64
	live   int   // entries whose newest record stands here
	bytes  int64 // of those records
	synced int64 // bytes of it that are known to be on the disk itself
}

// at is where a record stands; seg is nil where the disk did not take it.
type at struct {
	seg  *segment
	off  int64
	size int
}

// store is the log's files, oldest first. New records go to the last one. Its
// methods are not safe for use by several goroutines: Book's lock is over them.
type store struct {
	dir   string
	limit int64 // of a segment
	open  func(path string) (file, error)
	segs  []*segment
	cur   *segment // nil: the next record begins one
	next  uint64
	total int64
	fresh bool // a segment was made since the directory was flushed
}

const suffix = ".log"

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
}

// append writes whole records with one write(2) and returns where the first
// begins. On an error nothing of them stays.
func (s *store) append(records []byte) (*segment, int64, error) {
	if s.cur != nil && s.cur.size > 0 && s.cur.size+int64(len(records)) > s.limit {
		s.cur = nil
	}
	if s.cur == nil {
		if err := s.begin(); err != nil {
			return nil, 0, err
		}
	}
	g := s.cur
	if _, err := g.f.Write(records); err != nil {
		// What was written of it must not stand in front of the next record. If it
		// cannot be taken away, the next record begins another file.
		if terr := g.f.Truncate(g.size); terr != nil {
			s.cur = nil
		}
		return nil, 0, fmt.Errorf("write to %s: %w", g.path, err)
	}
	off := g.size
	g.size += int64(len(records))
	s.total += int64(len(records))
	return g, off, nil
}

func (s *store) begin() error {
	path := filepath.Join(s.dir, fmt.Sprintf("%016d%s", s.next, suffix))
	f, err := s.open(path)
	if err != nil {
		return fmt.Errorf("begin a segment: %w", err)
	}
	s.cur = &segment{number: s.next, path: path, f: f}
	s.next++
	s.segs = append(s.segs, s.cur)
	s.fresh = true
	return nil
}

// safe: the record would survive a crash of the machine.
func (a at) safe() bool { return a.seg != nil && a.off+int64(a.size) <= a.seg.synced }

// body reads the last n bytes of a record.
func (a at) body(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := a.seg.f.ReadAt(b, a.off+int64(a.size-n)); err != nil {
		return nil, fmt.Errorf("read from %s: %w", a.seg.path, err)
	}
	return b, nil
}

// removeOldest deletes the first segment.
func (s *store) removeOldest() error {
	g := s.segs[0]
	s.segs = s.segs[1:]
	s.total -= g.size
	return errors.Join(os.Remove(g.path), g.f.Close())
}

// existing opens the segments of an earlier process, oldest first.
func (s *store) existing() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		digits, ok := strings.CutSuffix(e.Name(), suffix)
		n, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || e.IsDir() {
			continue
		}
		g, err := openSegment(filepath.Join(s.dir, e.Name()), n)
		if err != nil {
			return err
		}
		s.segs = append(s.segs, g)
		s.total += g.size
		s.next = max(s.next, n+1)
	}
	slices.SortFunc(s.segs, func(a, b *segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return nil
}

func openSegment(path string, n uint64) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	var info fs.FileInfo
	if info, err = f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &segment{number: n, path: path, f: f, size: info.Size()}, nil
}

// syncDir makes the names of new segments survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
