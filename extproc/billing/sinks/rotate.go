package sinks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// dayOf is a time's day in a file's name.
func dayOf(t time.Time) string { return t.UTC().Format("20060102") }

// due reports whether the open file is to be put aside before n more bytes are
// written at this time.
func (l *lineFile) due(r catalog.Rotation, now time.Time, n int) bool {
	if l.f == nil || l.size == 0 || l.torn > 0 || !l.info.Mode().IsRegular() {
		return false
	}
	return r.Daily && l.day != "" && l.day != dayOf(now) || r.Size > 0 && l.size+int64(n) > r.Size
}

// mostRotated bounds how many files of one day there may be.
const mostRotated = 100_000

// putAside renames the file after the day of its last write: events.jsonl becomes
// events-20261122.jsonl, or events-20261122-2.jsonl where that is taken. The next
// write makes a new one.
func (l *lineFile) putAside(now time.Time) error {
	day := l.day
	if day == "" {
		day = dayOf(now)
	}
	ext := filepath.Ext(l.path)
	stem := strings.TrimSuffix(l.path, ext) + "-" + day
	for n := 1; n <= mostRotated; n++ {
		to := stem + ext
		if n > 1 {
			to = fmt.Sprintf("%s-%d%s", stem, n, ext)
		}
		if _, err := os.Lstat(to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(l.path, to); err != nil {
			return err
		}
		return l.close()
	}
	return fmt.Errorf("%s%s and %d more of that day exist", stem, ext, mostRotated-1)
}
