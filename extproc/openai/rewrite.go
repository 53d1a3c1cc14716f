package openai

import "slices"

// Edit is one change to the top level of a body. The zero Edit changes nothing.
type Edit struct {
	op    op
	key   string
	name  string
	value []byte
}

type op uint8

var (
	jsonNull = []byte("null")
	jsonTrue = []byte("true")
)

const (
	opNone op = iota
	opSet
	opRemove
	opRename
)

// Set gives a member this value, which must be one JSON value; a member that is
// not there is added at the end.
func Set(key string, value []byte) Edit {
	if len(value) == 0 {
		value = jsonNull
	}
	return Edit{op: opSet, key: key, value: value}
}

// Remove takes a member out, and with it one of the commas around it.
func Remove(key string) Edit { return Edit{op: opRemove, key: key} }

// Rename gives a member another key and leaves its value and place. Where a member
// of that name is there already, that one stays and the other is removed.
func Rename(key, to string) Edit { return Edit{op: opRename, key: key, name: to} }

// Rewrite appends o's body to dst with the edits made, in their order, each on the
// outcome of those before it; an edit of a member that is not there does nothing,
// except Set. Every byte of the body that no edit touches is copied as it is, and no
// edit can make a key stand twice.
func Rewrite(dst []byte, o *Object, edits []Edit) []byte {
	p := plan{o: o, changes: make([]change, 0, len(edits))}
	size := len(o.raw)
	for i := range edits {
		e := &edits[i]
		p.apply(e)
		size += len(e.value) + 6*max(len(e.key), len(e.name)) + len(`,"":`)
	}
	slices.SortFunc(p.changes, func(a, b change) int { return a.index - b.index })
	return p.appendTo(slices.Grow(dst, size))
}

// plan is what a list of edits comes to: one change for each member concerned.
type plan struct {
	o       *Object
	changes []change
	added   int
}

type change struct {
	index   int    // of the member; from len(members) on: an added one
	name    string // its key after the edits
	value   []byte // nil: as it was
	renamed bool
	removed bool
}

func (p *plan) apply(e *Edit) {
	if e.op == opNone {
		return
	}
	at := p.find(e.key)
	if at < 0 && e.op == opSet {
		at = len(p.changes)
		p.changes = append(p.changes, change{index: len(p.o.members) + p.added, name: e.key})
		p.added++
	}
	if at < 0 {
		return
	}
	switch e.op {
	case opSet:
		p.changes[at].value = e.value
	case opRemove:
		p.changes[at].removed = true
	case opRename:
		if e.key == e.name {
			return
		}
		c := &p.changes[at]
		if p.has(e.name) {
			c.removed = true
		} else {
			c.name, c.renamed = e.name, true
		}
	}
}

// find returns the place in changes of the member that has this key by now, which
// it enters there if need be, or -1.
func (p *plan) find(key string) int {
	for at := range p.changes {
		if c := &p.changes[at]; c.name == key && !c.removed {
			return at
		}
	}
	index := p.untouched(key)
	if index < 0 {
		return -1
	}
	p.changes = append(p.changes, change{index: index, name: key})
	return len(p.changes) - 1
}

func (p *plan) has(key string) bool {
	for at := range p.changes {
		if c := &p.changes[at]; c.name == key && !c.removed {
			return true
		}
	}
	return p.untouched(key) >= 0
}

// untouched returns the index of the body's member of this key that no change
// concerns yet, or -1.
func (p *plan) untouched(key string) int {
	index := p.o.index(key)
	for at := range p.changes {
		if p.changes[at].index == index {
			return -1
		}
	}
	return index
}

// lastKept returns the index of the last of the body's members that stays, or -1.
func (p *plan) lastKept() int {
	last := len(p.o.members) - 1
	for _, c := range slices.Backward(p.changes) {
		if c.index >= len(p.o.members) {
			continue
		}
		if !c.removed || c.index != last {
			break
		}
		last--
	}
	return last
}

// appendTo writes the body with the changes, which are in the members' order.
func (p *plan) appendTo(dst []byte) []byte {
	raw, members := p.o.raw, p.o.members
	last := p.lastKept()
	pos := uint32(0) // up to where raw is copied or dropped
	at := 0
	for ; at < len(p.changes) && p.changes[at].index <= last; at++ {
		c := &p.changes[at]
		m := &members[c.index]
		if c.removed { // up to the next member, so that the comma goes too
			dst = append(dst, raw[pos:m.start]...)
			pos = members[c.index+1].start
			continue
		}
		if c.renamed {
			dst = append(dst, raw[pos:m.start]...)
			dst = AppendString(dst, c.name)
			pos = m.keyEnd
		}
		if c.value != nil {
			dst = append(dst, raw[pos:m.value]...)
			dst = append(dst, c.value...)
			pos = m.end
		}
	}
	// From the last member that stays to the last of all: gone, commas included.
	if len(members) > 0 {
		stop := members[0].start
		if last >= 0 {
			stop = members[last].end
		}
		dst = append(dst, raw[pos:stop]...)
		pos = members[len(members)-1].end
	} else {
		pos = uint32(skipSpace(raw, 0)) + 1
		dst = append(dst, raw[:pos]...)
	}
	comma := last >= 0
	for ; at < len(p.changes); at++ {
		c := &p.changes[at]
		if c.removed || c.index < len(members) {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, c.name)
		dst = append(dst, ':')
		dst = append(dst, c.value...)
		comma = true
	}
	return append(dst, raw[pos:]...)
}
