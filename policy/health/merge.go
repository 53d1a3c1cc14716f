package health

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// Instances tell each other what they measured. A message holds records: what one
// instance knows of one offer, whole, with a version that grows. Of two records of
// the same instance and offer the newer counts, so messages may come in any order,
// twice, or not at all, by any way: the last that arrives makes up for all before.
//
//	"sh2", length of a slot in ms
//	records, each: instance (8 bytes), offer (8 bytes), version, length, the record
//
// Numbers without a size are uvarints; those with one are little-endian.
const magic = "sh2"

// maxInstances bounds what is kept of an offer: records of further instances are
// ignored until those of others are out of date.
const maxInstances = 32

// Why a message is refused. Nothing of it is merged then.
var (
	ErrMessage = errors.New("not a message about health")
	ErrWindow  = errors.New("the other instance has another routing.health.window")
)

// keyOf names an offer among instances whose catalogs may differ.
func keyOf(o *catalog.Offer) uint64 {
	h := fnv.New64a()
	for _, s := range []string{o.Provider.Slug, o.Upstream, o.Model.ID} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

func (t *Table) header(b []byte) []byte {
	return binary.AppendUvarint(append(b, magic...), millis(t.cfg.slot))
}

func appendEntry(b []byte, instance, key, version uint64, record []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, instance)
	b = binary.LittleEndian.AppendUint64(b, key)
	b = binary.AppendUvarint(b, version)
	b = binary.AppendUvarint(b, uint64(len(record)))
	return append(b, record...)
}

// AppendDelta appends a message with what changed here since the last one, and
// returns b as it was if nothing did. It stops once the message has limit bytes, but
// not before the first record; the rest comes with the next.
func (t *Table) AppendDelta(b []byte, limit int) []byte {
	if len(t.unsent) == 0 {
		return b
	}
	start := len(b)
	b = t.header(b)
	sent := 0
	var record []byte
	for _, i := range t.unsent {
		if sent > 0 && len(b)-start >= limit {
			break
		}
		sent++
		o := &t.offers[i]
		o.unsent = false
		record = o.appendRecord(record[:0])
		b = appendEntry(b, t.instance, keyOf(t.cat.Offers()[i]), o.version, record)
	}
	t.unsent = slices.Delete(t.unsent, 0, sent)
	return b
}

// AppendState appends a message with all that is known from offer number from on,
// what other instances told included: what a new instance starts from. It stops
// once the message has limit bytes, likewise. next is where the next message begins, -1: that
// was all.
func (t *Table) AppendState(b []byte, from, limit int) (_ []byte, next int) {
	start := len(b)
	b = t.header(b)
	var record []byte
	for i := from; i < len(t.offers); i++ {
		if i > from && len(b)-start >= limit {
			return b, i
		}
		o, key := &t.offers[i], keyOf(t.cat.Offers()[i])
		if o.version > 0 {
			record = o.appendRecord(record[:0])
			b = appendEntry(b, t.instance, key, o.version, record)
		}
		for _, r := range o.remote {
			b = appendEntry(b, r.instance, key, r.version, r.record)
		}
	}
	return b, -1
}

// Merge takes in what another instance sent: all of it, or nothing and an error that
// is ErrMessage or ErrWindow. Offers that this catalog does not have are passed over.
func (t *Table) Merge(message []byte, now time.Time) error {
	if len(message) < len(magic) || string(message[:len(magic)]) != magic {
		return fmt.Errorf("merge %d bytes: %w", len(message), ErrMessage)
	}
	r := reader{b: message[len(magic):]}
	if ms := r.uint(farFuture); !r.bad && ms != millis(t.cfg.slot) {
		return fmt.Errorf("merge: its window is %v, this one's %v: %w",
			slots*time.Duration(ms)*time.Millisecond, t.cfg.Window, ErrWindow)
	}
	body := r
	for len(r.b) > 0 {
		e := r.entry()
		if _, ok := visit(e.record, visitor{}); r.bad || !ok || len(e.record) > maxRecord {
			return fmt.Errorf("merge: byte %d of %d: %w", len(message)-len(r.b), len(message), ErrMessage)
		}
	}
	if r.bad {
		return fmt.Errorf("merge %d bytes: %w", len(message), ErrMessage)
	}
	for len(body.b) > 0 {
		t.merge(body.entry(), now.UnixNano())
	}
	return nil
}

type entry struct {
	key uint64
	remote
}

func (r *reader) entry() (e entry) {
	e.instance = r.fixed()
	e.key = r.fixed()
	e.version = r.uint(1<<64 - 1)
	e.record = r.bytes(r.uint(1 << 32))
	return e
}

// merge keeps e if it is news. What is out of date is none: so states that are merged
// come to the same, whichever is merged into which.
func (t *Table) merge(e entry, now int64) {
	i, ok := t.byKey[e.key]
	if !ok || e.instance == t.instance || e.over(t.cfg.epoch(now), now) {
		return
	}
	o := &t.offers[i]
	at, found := slices.BinarySearchFunc(o.remote, e.instance, func(r remote, instance uint64) int {
		return cmp.Compare(r.instance, instance)
	})
	switch {
	case found:
		// One version has one record, unless somebody lies; then all choose the same.
		old := &o.remote[at]
		if c := cmp.Compare(e.version, old.version); c < 0 || c == 0 && bytes.Compare(e.record, old.record) <= 0 {
			return
		}
		e.record = bytes.Clone(e.record)
		*old = e.remote
	case len(o.remote) >= maxInstances:
		return
	default:
		e.record = bytes.Clone(e.record)
		o.remote = slices.Insert(o.remote, at, e.remote)
	}
	t.heed(i, e.record, now)
	t.touch(i)
}

// heed takes over the deadline of another instance, and what kind of answers it saw.
func (t *Table) heed(i int32, record []byte, now int64) {
	o, epoch := &t.offers[i], t.cfg.epoch(now)
	m := &t.models[o.model]
	till, _ := visit(record, visitor{sample: func(kind int, e uint32, _ int, _ uint32) {
		if kind == streamed && epoch-e < epoch-m.streamed {
			t.sawStream(m, e)
		}
	}})
	if till <= now+int64(t.cfg.MaxCooldown) { // its clock may be wrong, or its configuration
		o.extend(till)
	}
}

// forget drops what other instances told too long ago.
func (t *Table) forget(o *offer, now int64) {
	epoch := t.cfg.epoch(now)
	o.remote = slices.DeleteFunc(o.remote, func(r remote) bool { return r.over(epoch, now) })
	if len(o.remote) == 0 {
		o.remote = nil
	}
}
