package admission

import (
	"context"
	"errors"
	"os"
	"time"
)

// The methods in this file are called with b.mu held, unless they say otherwise.

// put moves an entry to the end of a state's list.
func (b *Book) put(e *entry, s state) {
	if e.el != nil {
		b.lists[e.state].Remove(e.el)
	}
	e.state = s
	e.el = b.lists[s].PushBack(e)
}

// move makes where the place of an entry's newest record.
func (b *Book) move(e *entry, where at) {
	if g := e.at.seg; g != nil {
		g.live--
		g.bytes -= int64(e.at.size)
	}
	e.at = where
}

// write appends one record.
func (b *Book) write(rec []byte) (at, error) {
	g, off, err := b.store.append(rec)
	if err != nil {
		b.stats.DiskErrors++
		if !b.trouble {
			b.opt.Log.Error("admission log: cannot write", "error", err)
		}
		b.trouble = true
		return at{}, err
	}
	b.recovered()
	g.live++
	g.bytes += int64(len(rec))
	return at{g, off, len(rec)}, nil
}

func (b *Book) recovered() {
	if b.trouble {
		b.opt.Log.Warn("admission log: writes again", "failures", b.stats.DiskErrors)
	}
	b.trouble = false
}

func (b *Book) full() bool {
	if b.store.total < b.opt.MaxBytes {
		return false
	}
	wake(b.tidy)
	return true
}

// finishAll writes down, with one write, that entries are done with. One of an
// unsettled request stays as a ghost.
func (b *Book) finishAll(done []*entry) error {
	if len(done) == 0 {
		return nil
	}
	var rec []byte
	sizes := make([]int, len(done))
	for i, e := range done {
		k := kindDone
		if e.unsettled {
			k = kindGhost
		}
		before := len(rec)
		rec = appendRecord(rec, k, e.id, "")
		sizes[i] = len(rec) - before
	}
	g, off, err := b.store.append(rec)
	if err != nil {
		b.stats.DiskErrors++
		return err // they stay, and are tried again
	}
	b.recovered()
	for i, e := range done {
		where := at{g, off, sizes[i]}
		off += int64(sizes[i])
		e.kept, e.body = nil, 0
		if e.unsettled {
			g.live++
			g.bytes += int64(sizes[i])
			b.move(e, where)
			e.since = b.opt.now()
			b.put(e, ghost)
			continue
		}
		b.move(e, at{})
		b.forget(e)
	}
	wake(b.tidy)
	return nil
}

func (b *Book) forget(e *entry) {
	b.move(e, at{})
	b.lists[e.state].Remove(e.el)
	delete(b.byID, e.id)
	b.done.Add(e.id)
}

// Of a request that was billed as unsettled, news may come hours later, from a
// stream that went on while nobody could be told.
const (
	ghostLife = 24 * time.Hour
	ghostMost = 100_000
)

func (b *Book) layGhosts() {
	now := b.opt.now()
	for el := b.lists[ghost].Front(); el != nil; el = b.lists[ghost].Front() {
		e := el.Value.(*entry)
		if b.lists[ghost].Len() <= ghostMost && now.Sub(e.since) < ghostLife {
			return
		}
		b.forget(e)
	}
}

// flush flushes what was written to the disk. It takes the lock by itself, and not
// while the disk works. One flushes at a time: of two, the later to end could know
// less, and the other could call a file safe whose name is not on the disk yet.
func (b *Book) flush() error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	b.rewrite()
	type part struct {
		g    *segment
		size int64
	}
	var dirty []part
	for _, g := range b.store.segs {
		if g.synced < g.size {
			dirty = append(dirty, part{g, g.size})
		}
	}
	fresh := b.store.fresh
	b.store.fresh = false
	if len(dirty) > 0 {
		b.stats.Flushes++
	}
	b.mu.Unlock()
	if fresh { // before what is in a new file counts
		if err := syncDir(b.store.dir); err != nil {
			b.mu.Lock()
			b.store.fresh = true
			b.mu.Unlock()
			return err
		}
	}
	var errs []error
	for _, d := range dirty {
		if err := d.g.f.Sync(); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				errs = append(errs, err)
			}
			continue
		}
		b.mu.Lock()
		d.g.synced = d.size
		b.mu.Unlock()
		wake(b.some)
	}
	return errors.Join(errs...)
}

// rewrite tries again to write down the events that the disk did not take.
func (b *Book) rewrite() {
	for len(b.unwritten) > 0 {
		e := b.unwritten[0]
		k := kindSettled
		if e.unsettled {
			k = kindUnsettled
		}
		where, err := b.write(appendRecord(nil, k, e.id, e.kept))
		if err != nil {
			return
		}
		b.move(e, where)
		e.kept, e.unwritten = nil, false
		b.unwritten = b.unwritten[1:]
	}
}

// tidyUp deletes the segments that nothing needs any more, oldest first, since a
// record that says done must not go before one that says admitted. Where an old
// segment is held by few, they are written anew. Some bytes of done requests are
// kept: by them a restarted process knows a report that comes twice. It takes the
// lock by itself, never for long.
func (b *Book) tidyUp() {
	b.tidying.Lock()
	defer b.tidying.Unlock()
	for b.tidyOldest() {
	}
}

// mostSegments bounds the files that are kept for nothing but late reports.
const mostSegments = 64

// tidyOldest deletes the first segment if it can, and reports whether it did.
func (b *Book) tidyOldest() bool {
	b.mu.Lock()
	b.layGhosts()
	if len(b.store.segs) == 0 || b.store.segs[0] == b.store.cur || b.closed {
		b.mu.Unlock()
		return false
	}
	g, pressed := b.store.segs[0], b.store.total >= b.opt.MaxBytes
	if pressed && b.opt.OnFull == DropOldest && g.live > 0 {
		b.drop(g)
	}
	worthIt := g.size / 4
	if pressed {
		worthIt = g.size / 10 * 9
	}
	needed := b.store.total > min(4*b.store.limit, b.opt.MaxBytes/2) || len(b.store.segs) > mostSegments
	held, worth := g.live > 0, g.bytes <= worthIt
	b.mu.Unlock()
	if !needed || held && (!worth || !b.carry(g)) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.live > 0 {
		return false
	}
	if err := b.store.removeOldest(); err != nil {
		b.opt.Log.Error("admission log: cannot remove a segment", "error", err)
		return false
	}
	return true
}

// carry writes the live records of a segment anew, flushes them, and reports
// whether that worked. It takes the lock by itself, for one record at a time.
func (b *Book) carry(g *segment) bool {
	data := make([]byte, g.size)
	if _, err := g.f.ReadAt(data, 0); err != nil {
		b.opt.Log.Error("admission log: cannot read", "segment", g.path, "error", err)
		return false
	}
	scan(data, func(r record) {
		b.mu.Lock()
		defer b.mu.Unlock()
		e := b.byID[string(r.id)]
		if e == nil || e.at.seg != g || e.at.off != r.off {
			return
		}
		if where, err := b.write(data[r.off : r.off+int64(r.size)]); err == nil {
			b.move(e, where)
		}
	})
	if err := b.flush(); err != nil {
		b.opt.Log.Error("admission log: cannot flush", "error", err)
		return false
	}
	return true
}

// drop gives up the events of a segment that wait for a sink.
func (b *Book) drop(g *segment) {
	var lost []*entry
	for _, s := range []state{ready, published} {
		for el := b.lists[s].Front(); el != nil; el = el.Next() {
			if e := el.Value.(*entry); e.at.seg == g && !e.unwritten {
				lost = append(lost, e)
			}
		}
	}
	if len(lost) == 0 {
		return
	}
	if err := b.finishAll(lost); err != nil {
		return
	}
	b.stats.Dropped += uint64(len(lost))
	ids := make([]string, 0, len(lost))
	for _, e := range lost {
		b.dropped = max(b.dropped, e.seq)
		ids = append(ids, e.id)
	}
	b.opt.Log.Error("admission log: full; the oldest events are LOST (billing.outbox.on_full: drop_oldest)", "events", len(lost), "ids", ids)
}

// tidyEvery is how often old segments are looked at without a reason.
const tidyEvery = 5 * time.Second

// work flushes and tidies until the Book is closed.
func (b *Book) work() {
	flush, tidy := time.NewTicker(b.opt.Flush), time.NewTicker(tidyEvery)
	defer flush.Stop()
	defer tidy.Stop()
	failing := false
	for {
		select {
		case <-b.stop:
			return
		case <-flush.C:
			err := b.flush()
			if err != nil && !failing {
				b.opt.Log.Error("admission log: cannot flush", "error", err)
			}
			failing = err != nil
		case <-tidy.C:
			b.tidyUp()
		case <-b.tidy:
			b.tidyUp()
		}
	}
}

// Close flushes the log and closes its files. What is in it waits for the next
// Open.
func (b *Book) Close(context.Context) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	close(b.stop)
	b.wg.Wait()
	errs := []error{b.flush()}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.store.segs {
		errs = append(errs, g.f.Close())
	}
	return errors.Join(errs...)
}
