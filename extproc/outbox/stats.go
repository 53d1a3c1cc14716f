package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

// waiting is the oldest event that a sink has not got.
type waiting struct {
	seq   uint64
	since time.Time
}

func (w *worker) stats() SinkStats {
	s := SinkStats{
		Name: w.sink.Name, Place: w.sink.Place, Delivered: w.delivered.Load(), Retries: w.retries.Load(), Dead: w.dead.Load(), Buried: w.buried.Load(),
		Backlog: w.backlog.Load(), Failing: w.failing.Load(),
	}
	s.Failures = s.Retries
	if p, ok := w.sink.Sink.(billing.Patient); ok {
		since, failures := p.Outage()
		s.Failures += failures
		s.Failing = s.Failing || !since.IsZero()
	}
	if o := w.oldest.Load(); o != nil && s.Backlog > 0 {
		s.Oldest = o.since
		s.Age = max(time.Since(o.since), 0)
	}
	return s
}

// look notes how far the sink is behind. The oldest event is read once, however long
// it stands there.
func (w *worker) look(ctx context.Context, info *jetstream.ConsumerInfo) error {
	backlog := info.NumPending + uint64(info.NumAckPending)
	w.backlog.Store(backlog)
	if backlog == 0 {
		w.oldest.Store(nil)
		return nil
	}
	next := info.AckFloor.Stream + 1
	if o := w.oldest.Load(); o != nil && o.seq >= next {
		return nil
	}
	s, err := w.opt.JS.Stream(ctx, w.opt.stream())
	if err != nil {
		return err
	}
	m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(w.filter()))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		w.oldest.Store(nil) // delivered in between
		return nil
	}
	if err != nil {
		return err
	}
	since := gjson.GetBytes(m.Data, "time").Time()
	if since.IsZero() {
		since = m.Time
	}
	w.oldest.Store(&waiting{m.Sequence, since})
	return nil
}
