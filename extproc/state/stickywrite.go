package state

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// write writes what Record put into the queue, whenever there is a connection. It
// ends with ctx, or when flush was called and the queue is empty.
func (st *Sticky) write(ctx context.Context) {
	defer close(st.flushed)
	open, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(st.closing, cancel)()
	for open.Err() == nil {
		select {
		case <-st.queue.ready:
		case <-open.Done():
		}
		for open.Err() == nil && st.queue.len() > 0 {
			session, done, err := st.link.wait(open) // meanwhile the queue loses its oldest
			if err != nil {
				break
			}
			if err := st.drain(session); err != nil {
				pause(session, shortestWait)
			}
			done()
		}
	}
	if ctx.Err() == nil && st.js.Conn().IsConnected() && st.drain(ctx) == nil {
		select {
		case <-st.js.PublishAsyncComplete():
		case <-ctx.Done():
		}
	}
}

// drain writes all that is in the queue.
func (st *Sticky) drain(ctx context.Context) error {
	if st.bucket.stream.Load() == nil {
		return errNoBucket
	}
	for {
		p, ok := st.queue.pop()
		if !ok {
			return nil
		}
		if time.Since(time.UnixMilli(p.rec.at)) >= time.Duration(st.ttl.Load()) {
			continue // it waited too long
		}
		if err := st.publish(ctx, p); err != nil {
			if st.queue.unpop(p) { // the connection is gone, whether or not that is known yet
				st.count.stickyDropped.Add(1)
			}
			return err
		}
	}
}

// publish hands one record to NATS. It waits while too many are under way.
func (st *Sticky) publish(ctx context.Context, p pending) error {
	data := appendRecord(make([]byte, 0, 48), st.names.name(p.rec.provider), p.rec.at)
	for {
		_, err := st.js.PublishMsgAsync(&nats.Msg{Subject: st.bucket.prefix + p.key.String(), Data: data})
		if !errors.Is(err, jetstream.ErrTooManyStalledMsgs) || ctx.Err() != nil {
			return err
		}
	}
}

// flush lets write end when the queue is empty, and waits for that within ctx.
func (st *Sticky) flush(ctx context.Context) {
	st.close()
	select {
	case <-st.flushed:
	case <-ctx.Done():
	}
}
