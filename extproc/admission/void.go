package admission

// voidWindow is how many requests are remembered that were given up before they were
// admitted. Both take Envoy's message timeout at most, so it is for a shunt that stood
// still under load.
const voidWindow = 65_536

// Void takes the admission of a request back that Envoy gave up before it was told of
// it: to the client the request was never served, so it has no event. Void may come
// before Admit, which is refused then. A request that has its event keeps it.
func (b *Book) Void(id string) {
	if id == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := b.byID[id]; {
	case e == nil && !b.done.Has(id):
		b.voided.Add(id)
	case e != nil && e.state == open:
		b.stats.Voided++
		b.abandon(e)
	}
}

// Abandon gives an open request up: it will have no event.
func (b *Book) Abandon(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.byID[id]; e != nil && e.state == open {
		b.abandon(e)
	}
}

// abandon is called with b.mu held.
func (b *Book) abandon(e *entry) {
	if err := b.finishAll([]*entry{e}); err != nil {
		b.forget(e) // until the next start
	}
}

// Open reports whether id was admitted and has no event yet.
func (b *Book) Open(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.byID[id]
	return e != nil && e.state == open
}

// Written reports whether the disk took every event that was made.
func (b *Book) Written() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.unwritten) == 0
}
