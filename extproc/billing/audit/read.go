package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// longestLine bounds an event; they have a few kilobytes.
const longestLine = 1 << 20

// Line is one line of a file, which may be no event.
type Line struct {
	File   string
	Number int    // from 1
	Event  *Event // nil where Err is set
	Err    error  // why it is not an event
	// First is where the same event stands already, "" if nowhere: it was delivered
	// again. With Err, another event has its source and id.
	First string
}

// At is where the line is, for people.
func (l *Line) At() string { return fmt.Sprintf("%s:%d", l.File, l.Number) }

// Reader reads files of events, one after the other, and knows what it has read.
type Reader struct {
	seen map[[sha256.Size]byte]origin // by source and id
}

type origin struct {
	file    string
	line    int
	content [sha256.Size]byte
}

// NewReader returns a Reader that has read nothing.
func NewReader() *Reader { return &Reader{seen: make(map[[sha256.Size]byte]origin)} }

// Read calls each for every line that is not empty. The error is r's or each's.
func (rd *Reader) Read(name string, r io.Reader, each func(*Line) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		raw, err := readLine(in)
		if len(bytes.TrimSpace(raw)) > 0 {
			if err := each(rd.line(name, n, raw)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
}

func (rd *Reader) line(name string, n int, raw []byte) *Line {
	l := &Line{File: name, Number: n}
	if len(raw) > longestLine {
		l.Err = fmt.Errorf("longer than %d bytes", longestLine)
		return l
	}
	if l.Event, l.Err = Parse(raw); l.Err != nil {
		return l
	}
	key, content := sha256.Sum256([]byte(l.Event.Source+"\x00"+l.Event.ID)), sha256.Sum256(bytes.TrimSpace(raw))
	first, again := rd.seen[key]
	if !again {
		rd.seen[key] = origin{name, n, content}
		return l
	}
	l.First = fmt.Sprintf("%s:%d", first.file, first.line)
	if first.content != content {
		l.Err = fmt.Errorf("another event with the source and id of %s", l.First)
	}
	return l
}

// readLine is the next line, without its end, cut behind longestLine.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		if len(line) <= longestLine {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSuffix(line, []byte{'\n'}), err
		}
	}
}
