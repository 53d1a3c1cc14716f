package state

import "sync"

// queue is a bounded first-in first-out queue. When it is full, the oldest goes.
type queue[T any] struct {
	mu    sync.Mutex
	ring  []T
	first int
	n     int
	ready chan struct{} // has room for one: something was pushed
}

func newQueue[T any](size int) *queue[T] {
	return &queue[T]{ring: make([]T, size), ready: make(chan struct{}, 1)}
}

// push adds x and reports whether the oldest had to go for it.
func (q *queue[T]) push(x T) (dropped bool) {
	q.mu.Lock()
	q.ring[(q.first+q.n)%len(q.ring)] = x
	if dropped = q.n == len(q.ring); dropped {
		q.first = (q.first + 1) % len(q.ring)
	} else {
		q.n++
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return dropped
}

// pop takes the oldest.
func (q *queue[T]) pop() (x T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return x, false
	}
	var zero T
	x, q.ring[q.first] = q.ring[q.first], zero
	q.first = (q.first + 1) % len(q.ring)
	q.n--
	return x, true
}

// unpop makes x the oldest again, and reports whether there was no room for it.
func (q *queue[T]) unpop(x T) (dropped bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == len(q.ring) {
		return true
	}
	q.first = (q.first + len(q.ring) - 1) % len(q.ring)
	q.ring[q.first] = x
	q.n++
	return false
}

func (q *queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n
}
