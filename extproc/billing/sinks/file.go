package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// fileSink appends events to a file, one a line. The file is made with mode 0600,
// its directory with 0700. A file that somebody renamed or removed is made anew
// before the next write.
//
// One goroutine writes: whatever was delivered while it was busy goes into one
// write, and with fsync: always into one flush. A write that fails (a full disk) is
// tried again until it works or the sink is closed.
type fileSink struct {
	log    *slog.Logger
	path   string
	rotate catalog.Rotation
	fsync  catalog.Fsync
	out    *lineFile
	now    func() time.Time
	disk   *outages
	jobs   chan *job
	stuck  bool   // a rotation did not work: said once
	buf    []byte // of the last write, to be used again

	// DeliverAll sends under mu's read half, so that jobs is closed when nobody sends.
	mu      sync.RWMutex
	closed  bool
	closing chan struct{} // wakes those who wait to send
	once    sync.Once
	abort   context.Context // ends the last tries
	give    context.CancelFunc
	done    chan struct{}
	lost    int // read after done
}

// job is what one DeliverAll waits for.
type job struct {
	ms   []billing.Message
	done chan error // gets one error, or nil
}

const (
	fileBatch    = 256 << 10 // bytes of one write at most, about
	syncInterval = time.Second
)

func openFile(cfg *catalog.Sink, log *slog.Logger) (*fileSink, error) {
	return newFile(cfg, log, openLine, time.Now)
}

func newFile(cfg *catalog.Sink, log *slog.Logger, open opener, now func() time.Time) (*fileSink, error) {
	s := &fileSink{
		log: log, path: cfg.File, rotate: cfg.Rotate, fsync: cfg.Fsync, out: &lineFile{path: cfg.File, open: open}, now: now,
		disk: newOutages(log), jobs: make(chan *job, 1024),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	s.disk.pauses = pauses{first: 50 * time.Millisecond, longest: 5 * time.Second}
	s.abort, s.give = context.WithCancel(context.Background())
	if err := s.out.ready(); err != nil {
		s.give()
		return nil, err
	}
	go s.run()
	return s, nil
}

// Outage implements billing.Patient.
func (s *fileSink) Outage() (since time.Time, failures uint64) { return s.disk.Outage() }

// Deliver implements billing.Sink.
func (s *fileSink) Deliver(ctx context.Context, m billing.Message) error { return one(ctx, s, m) }

// DeliverAll implements billing.Batcher. When ctx ends while the events wait, they
// may be written all the same.
func (s *fileSink) DeliverAll(ctx context.Context, ms []billing.Message) []error {
	j := &job{ms: ms, done: make(chan error, 1)}
	if err := s.send(ctx, j); err != nil {
		return all(len(ms), err)
	}
	select {
	case err := <-j.done:
		return all(len(ms), err)
	case <-ctx.Done():
		return all(len(ms), fmt.Errorf("file %s is not written: %w", s.path, ctx.Err()))
	}
}

func (s *fileSink) send(ctx context.Context, j *job) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return billing.ErrClosed
	}
	select {
	case s.jobs <- j:
		return nil
	case <-s.closing:
		return billing.ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("file %s is not written: %w", s.path, ctx.Err())
	}
}

// Close implements billing.Sink.
func (s *fileSink) Close(ctx context.Context) error {
	s.once.Do(func() {
		close(s.closing)
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		close(s.jobs)
	})
	select {
	case <-s.done:
	case <-ctx.Done():
		s.give()
		<-s.done
	}
	s.give()
	if s.lost > 0 {
		return fmt.Errorf("billing: file sink %s: %d events not written", s.path, s.lost)
	}
	return nil
}

// run writes until jobs is closed and empty.
func (s *fileSink) run() {
	defer close(s.done)
	sync := time.NewTimer(syncInterval)
	sync.Stop()
	defer sync.Stop()
	dirty := false
	for {
		select {
		case j, open := <-s.jobs:
			if !open {
				if err := s.out.close(); err != nil {
					s.log.Error("billing: file sink", "error", err)
				}
				return
			}
			s.write(s.gather(j))
			if s.fsync == catalog.FsyncInterval && !dirty {
				dirty = true
				sync.Reset(syncInterval)
			}
		case <-sync.C:
			dirty = false
			if err := s.out.sync(); err != nil {
				s.log.Error("billing: file sink cannot flush to the disk", "error", err)
			}
		}
	}
}

// gather takes what else is waiting, up to one write's size.
func (s *fileSink) gather(first *job) []*job {
	jobs := []*job{first}
	size := first.size()
	for size < fileBatch {
		select {
		case j, open := <-s.jobs:
			if !open {
				return jobs
			}
			jobs = append(jobs, j)
			size += j.size()
		default:
			return jobs
		}
	}
	return jobs
}

func (j *job) size() (n int) {
	for i := range j.ms {
		n += len(j.ms[i].Body) + 1
	}
	return n
}

// write tries until all is written, and on the disk where it has to be, or the sink
// has to give up.
func (s *fileSink) write(jobs []*job) {
	all, events := s.buf[:0], 0
	for _, j := range jobs {
		events += len(j.ms)
		for i := range j.ms {
			all = append(append(all, j.ms[i].Body...), '\n')
		}
	}
	s.buf = all
	rest := all
	err := s.disk.persist(s.abort, func() (time.Duration, error) {
		var err error
		if rest, err = s.append(rest, all); err != nil {
			return 0, fmt.Errorf("%w: %w", errOutage, err)
		}
		return 0, nil
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", billing.ErrClosed, err)
		s.lost += events
		s.log.Error("billing: file sink gives up; events not written", "events", events, "error", err)
	}
	for _, j := range jobs {
		j.done <- err
	}
}

// append writes rest, the part of all that is not written yet. After a flush that
// failed nobody knows what the disk has: all is written again, to a file that is
// opened anew.
func (s *fileSink) append(rest, all []byte) (left []byte, err error) {
	if err := s.out.ready(); err != nil {
		return rest, err
	}
	if now := s.now(); s.out.due(s.rotate, now, len(rest)) {
		if err := s.out.putAside(now); err != nil && !s.stuck {
			s.stuck = true
			s.log.Error("billing: file sink cannot rotate; it goes on with the old file", "error", err)
		} else if err == nil {
			s.stuck = false
		}
	}
	if len(rest) > 0 {
		if rest, err = s.out.write(rest); err != nil {
			return rest, err
		}
	}
	s.out.day = dayOf(s.now())
	if s.fsync == catalog.FsyncAlways {
		if err := s.out.sync(); err != nil {
			return all, errors.Join(err, s.out.close())
		}
	}
	return nil, nil
}
