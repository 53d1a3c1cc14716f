package accesslog

import "bytes"

// longestLine bounds a line of the journal, in bytes. Envoy writes some hundred.
const longestLine = 64 << 10

// splitter cuts what is read of a growing file into lines. It keeps the beginning of
// a line that is not whole yet.
type splitter struct {
	rest []byte
	skip bool // in a line that is too long
}

// feed hands each whole line to f, without its newline; f must not keep it. long is
// called for each line that is over longestLine.
func (s *splitter) feed(data []byte, f func(line []byte), long func()) {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			s.hold(data, long)
			return
		}
		line := data[:i]
		data = data[i+1:]
		if len(s.rest) > 0 && !s.skip {
			s.hold(line, long)
			line = s.rest
		}
		switch {
		case s.skip: // it was called long when it got so
		case len(line) > longestLine:
			long()
		case len(line) > 0:
			f(line)
		}
		s.reset()
	}
}

func (s *splitter) hold(data []byte, long func()) {
	switch {
	case s.skip:
	case len(s.rest)+len(data) > longestLine:
		s.rest, s.skip = s.rest[:0], true
		long()
	default:
		s.rest = append(s.rest, data...)
	}
}

// reset forgets an unfinished line.
func (s *splitter) reset() { s.rest, s.skip = s.rest[:0], false }

// torn reports whether a line was begun and not ended.
func (s *splitter) torn() bool { return len(s.rest) > 0 || s.skip }
