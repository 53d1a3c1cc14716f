package accesslog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// files are those of a journal: the one that Envoy writes to, and those that it wrote
// to before.
type files struct {
	path string // clean
	live *part  // nil: there is none yet
	old  []*part
	buf  []byte

	number int  // of the newest file that was rotated away
	asking bool // Envoy has not been made to open the file again yet
}

const (
	// strayTime: an Envoy that is to go, as one whose shunt was killed, drains for
	// minutes, and writes to the file that it has open whatever that is called by then.
	strayTime = 10 * time.Minute
	// leftTime is enough for an Envoy that was told to open its file again.
	leftTime = 30 * time.Second
	// reopenTimeout bounds the telling.
	reopenTimeout = 2 * time.Second
)

// read reads what is new in all files. At the first time that is everything, and what
// was rotated away while nobody looked.
func (s *files) read(now time.Time, first bool, stop func() bool, line func([]byte), long func()) error {
	var errs []error
	if first {
		errs = append(errs, s.adopt(now, s.siblings()...))
	}
	errs = append(errs, s.follow(now))
	if first && s.live != nil {
		s.live.stray = true
	}
	for _, p := range s.old {
		errs = append(errs, p.read(s.buf, now, stop, line, long))
	}
	if s.live != nil {
		cut, err := s.live.cut()
		if cut { // copied and truncated: what was not read stands in the copy
			if all := s.siblings(); len(all) > 0 {
				errs = append(errs, s.adopt(now, all[len(all)-1]))
				errs = append(errs, s.old[len(s.old)-1].read(s.buf, now, stop, line, long))
			}
		}
		errs = append(errs, err, s.live.read(s.buf, now, stop, line, long))
	}
	return errors.Join(errs...)
}

// follow sees to it that live is the file at path.
func (s *files) follow(now time.Time) error {
	if s.live != nil {
		same, err := s.live.same(s.path)
		if same || err != nil {
			return err
		}
		s.leave(now)
	}
	p, err := openPart(s.path, now)
	if errors.Is(err, os.ErrNotExist) {
		return nil // Envoy will make it
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	s.live = p
	return nil
}

func (s *files) leave(now time.Time) {
	s.live.left = now
	s.old = append(s.old, s.live)
	s.live = nil
}

func (s *files) adopt(now time.Time, paths ...string) error {
	var errs []error
	for _, path := range paths {
		p, err := openPart(path, now)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.left, p.stray = now, true
		s.old = append(s.old, p)
	}
	return errors.Join(errs...)
}

// siblings are files that the journal was rotated into, oldest first: its name with
// more behind it.
func (s *files) siblings() []string {
	type file struct {
		path string
		at   time.Time
	}
	var all []file
	entries, _ := os.ReadDir(filepath.Dir(s.path)) // no directory: no files
	for _, e := range entries {
		more, ok := strings.CutPrefix(e.Name(), filepath.Base(s.path))
		if !ok || more == "" || !e.Type().IsRegular() || slices.Contains(packed, filepath.Ext(more)) {
			continue
		}
		path := filepath.Join(filepath.Dir(s.path), e.Name())
		if n, ok := s.rotated(path); ok {
			s.number = max(s.number, n)
		}
		if info, err := e.Info(); err == nil {
			all = append(all, file{path, info.ModTime()})
		}
	}
	slices.SortStableFunc(all, func(a, b file) int { return a.at.Compare(b.at) })
	paths := make([]string, len(all))
	for i, f := range all {
		paths[i] = f.path
	}
	return paths
}

// packed are endings of files that cannot be read as they are.
var packed = []string{".gz", ".bz2", ".xz", ".zst", ".lz4"}

// tidy closes old files to which nothing can come any more, and has those that rotate
// made removed. Where somebody else rotates, remove is nil.
func (s *files) tidy(now time.Time, remove func(path string) error) error {
	var errs []error
	s.old = slices.DeleteFunc(s.old, func(p *part) bool {
		wait := leftTime
		if p.stray || remove == nil {
			wait = strayTime
		}
		if now.Sub(p.left) < wait || now.Sub(p.grew) < wait {
			return false
		}
		errs = append(errs, p.f.Close())
		if _, ours := s.rotated(p.path); ours && remove != nil {
			errs = append(errs, remove(p.path))
		}
		return true
	})
	return errors.Join(errs...)
}

// rotated is the number of a file that rotate made.
func (s *files) rotated(path string) (number int, ok bool) {
	digits, ok := strings.CutPrefix(path, s.path+".")
	number, err := strconv.Atoi(digits)
	return number, ok && err == nil && number > 0
}

// rotate renames the file and has Envoy open another one. The new file is there before
// Envoy opens it, because Envoy would let everybody read it.
func (s *files) rotate(now time.Time, limit int64) error {
	if s.live == nil || s.live.off < limit || s.asking {
		return nil
	}
	to := s.path + "." + strconv.Itoa(s.number+1)
	if err := os.Rename(s.path, to); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	s.number++
	s.live.path = to
	s.asking = true
	if err := Private(s.path); err != nil {
		return err
	}
	return s.follow(now)
}

// Private makes the file of a journal, for its owner's eyes alone, if it is not there.
func Private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the journal: %w", err)
	}
	return errors.Join(f.Chmod(0o600), f.Close())
}

func (s *files) close() {
	for _, p := range append(s.old, s.live) {
		if p != nil {
			_ = p.f.Close() // it was only read
		}
	}
	s.old, s.live = nil, nil
}

// rotate keeps the disk bounded.
func (j *Journal) rotate(now time.Time) error {
	err := j.files.rotate(now, j.cfg.Rotate)
	if j.files.asking {
		ctx, cancel := context.WithTimeout(context.Background(), reopenTimeout)
		rerr := (*j.reopen.Load())(ctx)
		cancel()
		j.files.asking = rerr != nil // tried again at the next look
		err = errors.Join(err, rerr)
	}
	if !j.files.asking && len(j.ended) == 0 && j.cfg.Requests.Written() {
		err = errors.Join(err, j.files.tidy(now, os.Remove))
	}
	return err
}
