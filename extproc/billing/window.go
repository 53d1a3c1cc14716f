package billing

import "sync"

// Window remembers the last ids that were added to it. It is safe for use by
// several goroutines.
type Window struct {
	mu   sync.Mutex
	seen map[string]int // id → its place in ring
	ring []string       // "": free
	next int
}

// NewWindow returns a Window over the last size ids; size is at least 1.
func NewWindow(size int) *Window {
	return &Window{seen: make(map[string]int), ring: make([]string, max(size, 1))}
}

// Add remembers id, forgetting the oldest if it must, and reports whether it is
// new.
func (w *Window) Add(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.seen[id]; ok {
		return false
	}
	if old := w.ring[w.next]; old != "" {
		delete(w.seen, old)
	}
	w.ring[w.next], w.seen[id] = id, w.next
	w.next = (w.next + 1) % len(w.ring)
	return true
}

// Has reports whether id is remembered.
func (w *Window) Has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.seen[id]
	return ok
}

// Remove forgets id.
func (w *Window) Remove(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i, ok := w.seen[id]; ok {
		delete(w.seen, id)
		w.ring[i] = ""
	}
}
