package billing

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// FileSink appends events to a file, one a line. The file is made with mode 0600,
// its directory with 0700. One goroutine writes; what waits for it is bounded, and
// beyond that Deliver blocks. A file that was renamed or removed is made anew
// before the next write, so rotating it takes a rename and nothing else.
//
// A write that fails (a full disk) is logged and tried again until it works or the
// sink is closed. Lines are not flushed to the disk one by one: what the machine
// has not written when its power fails is lost.
type FileSink struct {
	log   *slog.Logger
	path  string
	out   *lineFile
	queue chan Message

	// Deliver sends under mu's read half, so that the queue is closed when nobody
	// sends. closing wakes those who wait for room; abort ends the last retries.
	mu      sync.RWMutex
	closed  bool
	closing chan struct{}
	once    sync.Once
	abort   chan struct{}
	done    chan struct{}
	lost    int // read after done

	taken    atomic.Uint64 // events that Deliver took
	progress chan struct{} // has room for one: the writer got further
	written  atomic.Uint64 // of those taken, written
}

const (
	fileQueue   = 1024      // events that wait for the writer
	fileBatch   = 256 << 10 // bytes of one write at most, about
	firstPause  = 50 * time.Millisecond
	longestWait = 5 * time.Second
)

// NewFileSink opens path, or fails if it cannot be written to. Close must be
// called.
func NewFileSink(path string, log *slog.Logger) (*FileSink, error) {
	return newFileSink(path, log, openLine)
}

func newFileSink(path string, log *slog.Logger, open opener) (*FileSink, error) {
	s := &FileSink{
		log: log, path: path, out: &lineFile{path: path, open: open}, queue: make(chan Message, fileQueue),
		progress: make(chan struct{}, 1), closing: make(chan struct{}), abort: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.out.ready(); err != nil {
		return nil, fmt.Errorf("billing: file sink: %w", err)
	}
	go s.run()
	return s, nil
}

// Deliver implements Sink.
func (s *FileSink) Deliver(ctx context.Context, m Message) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	select {
	case s.queue <- m:
		s.taken.Add(1)
		return nil
	default:
	}
	select {
	case s.queue <- m:
		s.taken.Add(1)
		return nil
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("billing: file sink %s is full: %w", s.path, ctx.Err())
	}
}

// Flush implements Flusher: it waits until all that was delivered by the caller is
// in the file. It is for one goroutine at a time.
func (s *FileSink) Flush(ctx context.Context) error {
	want := s.taken.Load()
	for s.written.Load() < want {
		select {
		case <-s.progress:
		case <-s.done:
			if s.written.Load() < want {
				return ErrClosed
			}
		case <-ctx.Done():
			return fmt.Errorf("billing: file sink %s: %w", s.path, ctx.Err())
		}
	}
	return nil
}

// Close implements Sink.
func (s *FileSink) Close(ctx context.Context) error {
	s.once.Do(func() {
		close(s.closing)
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.queue)
	})
	select {
	case <-s.done:
	case <-ctx.Done():
		s.mu.Lock()
		select {
		case <-s.abort:
		default:
			close(s.abort)
		}
		s.mu.Unlock()
		<-s.done
	}
	if s.lost > 0 {
		return fmt.Errorf("billing: file sink %s: %d events not written", s.path, s.lost)
	}
	return nil
}

// run writes until the queue is closed and empty.
func (s *FileSink) run() {
	defer close(s.done)
	var buf []byte
	for m := range s.queue {
		ids := []string{m.ID}
		buf = appendLine(buf[:0], m)
		for more := true; more && len(buf) < fileBatch; {
			select {
			case m, open := <-s.queue:
				if more = open; open {
					ids = append(ids, m.ID)
					buf = appendLine(buf, m)
				}
			default:
				more = false
			}
		}
		if s.write(buf, ids) {
			s.written.Add(uint64(len(ids)))
			select {
			case s.progress <- struct{}{}:
			default:
			}
		}
	}
	if err := s.out.close(); err != nil {
		s.log.Error("billing: file sink", "path", s.path, "error", err)
	}
}

func appendLine(dst []byte, m Message) []byte { return append(append(dst, m.Body...), '\n') }

// write tries until all of buf is written, or the sink has to give up: then it is
// false.
func (s *FileSink) write(buf []byte, ids []string) bool {
	pause, failures := firstPause, 0
	for {
		rest, err := s.out.write(buf)
		if err == nil {
			if failures > 0 {
				s.log.Warn("billing: file sink writes again", "path", s.path, "failures", failures)
			}
			return true
		}
		buf = rest
		failures++
		s.log.Error("billing: file sink cannot write; will try again", "path", s.path, "events", len(ids), "failures", failures, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.abort:
			timer.Stop()
			lost := ids[len(ids)-bytes.Count(buf, []byte{'\n'}):]
			s.lost += len(lost)
			s.log.Error("billing: file sink gives up; events lost", "path", s.path, "ids", lost, "error", err)
			return false
		}
		pause = min(2*pause, longestWait)
	}
}
