package admission

import (
	"fmt"
	"time"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

const (
	defaultFlush   = 20 * time.Millisecond
	defaultMax     = 1 << 30
	defaultSegment = 8 << 20
)

// Open reads what an earlier process left and begins a new segment behind it.
// Requests that were open are as if they had been heard of just now. Close must be
// called.
func Open(o Options) (*Book, error) {
	if o.Flush <= 0 {
		o.Flush = defaultFlush
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMax
	}
	if o.segment <= 0 {
		o.segment = min(defaultSegment, max(o.MaxBytes/16, 64<<10))
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.open == nil {
		o.open = createFile
	}
	b := &Book{
		opt: o, store: store{dir: o.Dir, limit: o.segment, open: o.open},
		byID: make(map[string]*entry), done: billing.NewWindow(billing.DefaultWindow), voided: billing.NewWindow(voidWindow),
		some: make(chan struct{}, 1), tidy: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	for i := range b.lists {
		b.lists[i].Init()
	}
	if err := b.recover(); err != nil {
		return nil, fmt.Errorf("admission log in %s: %w", o.Dir, err)
	}
	b.wg.Go(b.work)
	return b, nil
}

func (b *Book) recover() error {
	if err := b.store.existing(); err != nil {
		return err
	}
	now := b.opt.now()
	var order []*entry
	known := make(map[string]kind)
	for _, g := range b.store.segs {
		data := make([]byte, g.size)
		if _, err := g.f.ReadAt(data, 0); g.size > 0 && err != nil {
			return fmt.Errorf("read %s: %w", g.path, err)
		}
		lost := scan(data, func(r record) {
			if had := known[string(r.id)]; had.rank() > r.kind.rank() {
				return
			}
			known[string(r.id)] = r.kind
			e := b.byID[string(r.id)]
			if e == nil {
				e = &entry{id: string(r.id), since: now}
				b.byID[e.id] = e
				order = append(order, e)
			}
			b.move(e, at{g, r.off, r.size})
			g.live++
			g.bytes += int64(r.size)
			e.body, e.unsettled = len(r.body), r.kind == kindUnsettled || r.kind == kindGhost
		})
		if lost > 0 {
			b.opt.Log.Warn("admission log: a record is torn or damaged", "segment", g.path, "bytes", lost)
		}
	}
	for _, e := range order {
		switch known[e.id] {
		case kindAdmitted:
			b.put(e, open)
		case kindSettled, kindUnsettled:
			b.put(e, ready)
		case kindGhost:
			b.put(e, ghost)
		case kindDone:
			b.move(e, at{})
			delete(b.byID, e.id)
			b.done.Add(e.id)
		}
	}
	if n := b.lists[open].Len() + b.lists[ready].Len(); n > 0 {
		b.opt.Log.Info("admission log: taken over", "open", b.lists[open].Len(), "events", b.lists[ready].Len())
	}
	return nil
}
