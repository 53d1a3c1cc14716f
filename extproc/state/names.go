package state

import "sync"

// names gives providers' slugs small numbers, so that a million cache entries need
// not hold a string each. It only grows; mostNames bounds what a foreign writer in a
// bucket can make of it.
type names struct {
	mu   sync.RWMutex
	ids  map[string]uint32
	text []string
}

const mostNames = 1 << 16

func newNames() *names { return &names{ids: make(map[string]uint32)} }

// id returns the number of a name; false: there is no room for another.
func (n *names) id(name string) (uint32, bool) {
	n.mu.RLock()
	id, ok := n.ids[name]
	n.mu.RUnlock()
	if ok {
		return id, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, ok := n.ids[name]; ok {
		return id, true
	}
	if len(n.text) == mostNames {
		return 0, false
	}
	id = uint32(len(n.text))
	n.text = append(n.text, name)
	n.ids[name] = id
	return id, true
}

// name returns the name with this number.
func (n *names) name(id uint32) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.text[id]
}
