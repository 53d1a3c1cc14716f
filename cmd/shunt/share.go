package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shunt-gateway/shunt/catalog"
)

// How instances tell each other what they see of providers: a delta, at most so
// often and so large, on one subject; and to a newcomer that asks on another, all
// there is. Nothing is kept and nothing is acknowledged: what gets lost is made up by
// the next delta of the same offer. While NATS is away deltas wait here, one for each
// offer; when it is back they are told, and what others told meanwhile is asked for.
const (
	shareEvery = 250 * time.Millisecond
	shareBytes = 64 << 10
)

// share connects the health of this instance with that of others on the same NATS.
// Without NATS each goes by what it sees itself.
func (a *app) share(ctx context.Context, c *catalog.Catalog) error {
	if c.State.Embedded() {
		return nil // nobody else is there
	}
	conn := a.state.Conn()
	deltas, asks := c.State.Prefix+".health", c.State.Prefix+".health.ask"
	merge := func(m *nats.Msg) { a.merge(m.Data) }
	told, err := conn.Subscribe(deltas, merge)
	if err != nil {
		return environmentError{fmt.Errorf("share health: %w", err)}
	}
	asked, err := conn.Subscribe(asks, func(m *nats.Msg) { a.tellAll(conn, m.Reply) })
	if err != nil {
		return environmentError{fmt.Errorf("share health: %w", err)}
	}
	inbox := conn.NewInbox()
	answers, err := conn.Subscribe(inbox, merge)
	if err != nil {
		return environmentError{fmt.Errorf("share health: %w", err)}
	}
	ask := func() { _ = conn.PublishRequest(asks, inbox, nil) } // away: once it is back

	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.tellDeltas(ctx, conn, deltas, ask)
	}()
	a.up("health sharing", func(context.Context) error {
		cancel()
		<-done
		for _, s := range []*nats.Subscription{told, asked, answers} {
			_ = s.Unsubscribe() // the connection ends next
		}
		return nil
	})
	return nil
}

// merge takes in what another instance tells. Its own deltas come back to it and
// change nothing.
func (a *app) merge(message []byte) {
	a.vitals.mu.Lock()
	err := a.vitals.table.Merge(message, time.Now())
	a.vitals.mu.Unlock()
	if err != nil {
		a.log.Warn("health of another instance passed over", "error", err)
	}
}

func (a *app) tellDeltas(ctx context.Context, conn *nats.Conn, subject string, ask func()) {
	back := true
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if !conn.IsConnected() {
				back = true
				continue
			}
			if back {
				back = false
				ask()
			}
			a.vitals.mu.Lock()
			delta := a.vitals.table.AppendDelta(nil, shareBytes, time.Now())
			a.vitals.mu.Unlock()
			if len(delta) > 0 {
				_ = conn.Publish(subject, delta)
			}
		}
	}
}

// tellAll answers a newcomer with everything known here.
func (a *app) tellAll(conn *nats.Conn, to string) {
	for next := 0; next >= 0; {
		var state []byte
		a.vitals.mu.Lock()
		state, next = a.vitals.table.AppendState(nil, next, shareBytes, time.Now())
		a.vitals.mu.Unlock()
		if err := conn.Publish(to, state); err != nil {
			return
		}
	}
}
