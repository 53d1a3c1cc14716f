package accesslog

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// JournalConfig is what a Journal needs. Path, Requests, Settle and Log must be set.
type JournalConfig struct {
	Path string
	// Rotate is the size in bytes from which the file gives way to a new one, once
	// RotateWith was called. The directory is the journal's own then.
	Rotate   int64
	Requests Requests
	// Settle takes over a request that has ended. It is called by one goroutine at a
	// time.
	Settle func(context.Context, *billing.Quote, *billing.Record) error
	Log    *slog.Logger

	now   func() time.Time // default time.Now
	every time.Duration    // default journalEvery
}

// Requests are those that were admitted.
type Requests interface {
	Open(id string) bool                     // it was admitted, and has no event
	Quote(id string) (quote string, ok bool) // of an open one
	Void(id string)                          // Envoy gave it up before it knew that it was admitted
	Written() bool                           // every event that was made is kept
}

// Journal reads the file to which Envoy writes the ends of requests, so that what it
// could not tell over gRPC is settled all the same: what ended while no shunt ran, or
// a moment before one was killed, or while the stream was broken. Most lines are of
// requests that have their event, and cost no more than a look at their id.
type Journal struct {
	cfg    JournalConfig
	reopen atomic.Pointer[func(context.Context) error]
	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup

	mu      sync.Mutex
	files   files
	join    *join
	stalls  *billing.Window
	ended   map[string]ending // open requests that have a line, until they have had their time
	begun   bool              // what was there at the start has been read
	trouble complaints

	settled, bad, read atomic.Uint64
}

// ending is an open request's line.
type ending struct {
	since time.Time
	line  line
}

const (
	journalEvery = 500 * time.Millisecond
	// journalGrace is how long the gRPC access log, which tells more, may take to say
	// what the journal says.
	journalGrace = 2 * time.Second
	journalChunk = 256 << 10
)

// StartJournal begins with everything that is in the journal, and then follows it.
// Close must be called.
func StartJournal(cfg JournalConfig) *Journal {
	j := newJournal(cfg)
	j.wg.Go(j.work)
	return j
}

func newJournal(cfg JournalConfig) *Journal {
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.every <= 0 {
		cfg.every = journalEvery
	}
	j := &Journal{cfg: cfg, stop: make(chan struct{}), join: newJoin(joinLimit, joinTTL), stalls: billing.NewWindow(stallWindow), ended: map[string]ending{}}
	j.files = files{path: filepath.Clean(cfg.Path), buf: make([]byte, journalChunk)}
	return j
}

// RotateWith has the journal rotated from now on, and old files removed. reopen makes
// Envoy open the file again.
func (j *Journal) RotateWith(reopen func(context.Context) error) { j.reopen.Store(&reopen) }

// JournalStats are counts since the start.
type JournalStats struct {
	Lines   uint64 // read
	Settled uint64 // requests that the journal settled
	Bad     uint64 // lines that were passed over: torn, foreign or too long
}

// Stats returns the counts of this moment.
func (j *Journal) Stats() JournalStats {
	return JournalStats{Lines: j.read.Load(), Settled: j.settled.Load(), Bad: j.bad.Load()}
}

func (j *Journal) work() {
	tick := time.NewTicker(j.cfg.every)
	defer tick.Stop()
	for {
		j.look(journalGrace)
		select {
		case <-j.stop:
			return
		case <-tick.C:
		}
	}
}

// Look settles everything that is in the journal now, without waiting for what the
// gRPC access log may say.
func (j *Journal) Look() { j.look(0) }

// Close ends the reading.
func (j *Journal) Close() {
	j.once.Do(func() { close(j.stop) })
	j.wg.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files.close()
}

func (j *Journal) stopped() bool {
	select {
	case <-j.stop:
		return true
	default:
		return false
	}
}

// look reads what is new, and settles what has been there for grace. At the start that
// is everything: nobody else will tell.
func (j *Journal) look(grace time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.cfg.now()
	if !j.begun {
		grace = 0
	}
	own := j.reopen.Load() != nil
	err := j.files.read(now, !j.begun, j.stopped, func(b []byte) { j.take(b, now) }, func() { j.complain(nil, now) })
	j.begun = true
	j.trouble.disk(j.cfg.Log, err, now)
	j.settleAll(now, grace)
	if own {
		err = j.rotate(now)
	} else {
		err = j.files.tidy(now, nil)
	}
	j.trouble.disk(j.cfg.Log, err, now)
}

// take takes in a line.
func (j *Journal) take(b []byte, now time.Time) {
	j.read.Add(1)
	if id, ok := endID(b); ok && !j.cfg.Requests.Open(id) { // nearly always
		j.join.take(id)
		return
	}
	l, err := readLine(b)
	if err != nil {
		j.complain(b, now)
		return
	}
	switch {
	case l.kind == names.LineGone:
		j.cfg.Requests.Void(l.id)
	case !j.cfg.Requests.Open(l.id):
		j.join.take(l.id)
	case l.kind == names.LineSilent:
		j.stalls.Add(l.id)
	case l.kind == names.LineAttempt:
		if a, ours := attemptOf(l.entry()); ours {
			j.join.add(l.id, a, now)
		}
	default:
		if _, twice := j.ended[l.id]; !twice {
			l.text = append([]byte(nil), l.text...)
			j.ended[l.id] = ending{now, l}
		}
	}
}

// complain counts a line that is none of ours, and says so now and then. What is in it
// is not shown: nobody knows what it is.
func (j *Journal) complain(b []byte, now time.Time) {
	j.bad.Add(1)
	j.trouble.line(j.cfg.Log, len(b), now)
}

// settleAll settles requests whose line has been there for grace.
func (j *Journal) settleAll(now time.Time, grace time.Duration) {
	for id, e := range j.ended {
		if now.Sub(e.since) < grace && j.cfg.Requests.Open(id) {
			continue
		}
		delete(j.ended, id)
		attempts := j.join.take(id)
		text, open := j.cfg.Requests.Quote(id)
		if !open {
			continue
		}
		if j.settle(&e.line, text, attempts) == nil {
			j.settled.Add(1)
		}
	}
}

func (j *Journal) settle(l *line, quote string, attempts []billing.Attempt) error {
	q, err := billing.ParseQuote(quote)
	if err != nil {
		return err // whoever gives the request up says so
	}
	r, err := recordOf(l.entry())
	if err != nil {
		j.cfg.Log.Warn("journal: usage cannot be read", "request_id", l.id, "error", err)
	}
	for i := range attempts {
		attempts[i].Outcome = knowing(j.stalls, l.id, attempts[i].Outcome)
	}
	r.Attempts, r.Last.Outcome = attempts, knowing(j.stalls, l.id, r.Last.Outcome)
	return j.cfg.Settle(context.Background(), q, r)
}

// complaints are said once a minute at most.
type complaints struct {
	lines    int
	lineSaid time.Time
	diskSaid time.Time
}

const complainEvery = time.Minute

func (c *complaints) line(log *slog.Logger, bytes int, now time.Time) {
	c.lines++
	if now.Sub(c.lineSaid) < complainEvery {
		return
	}
	log.Warn("journal: passed over what is no line of it", "lines", c.lines, "bytes", bytes)
	c.lines, c.lineSaid = 0, now
}

func (c *complaints) disk(log *slog.Logger, err error, now time.Time) {
	if err == nil || now.Sub(c.diskSaid) < complainEvery {
		return
	}
	c.diskSaid = now
	log.Error("journal: cannot be read or rotated", "error", err)
}
