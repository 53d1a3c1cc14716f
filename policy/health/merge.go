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
//	"sh2", length of a slot in ms, the sender's time in ms since 1970
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

func (t *Table) header(b []byte, now time.Time) []byte {
	b = binary.AppendUvarint(append(b, magic...), millis(t.cfg.slot))
	return binary.AppendUvarint(b, millis(now.UnixNano()))
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
func (t *Table) AppendDelta(b []byte, limit int, now time.Time) []byte {
	if len(t.unsent) == 0 {
		return b
	}
	start := len(b)
	b = t.header(b, now)
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
func (t *Table) AppendState(b []byte, from, limit int, now time.Time) (_ []byte, next int) {
	start := len(b)
	b = t.header(b, now)
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
	skew := skewOf(int64(r.uint(farFuture))*int64(time.Millisecond), now.UnixNano())
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
		t.merge(body.entry(), skew, now.UnixNano())
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
func (t *Table) merge(e entry, skew, now int64) {
	i, ok := t.byKey[e.key]
	if !ok || e.instance == t.instance {
		return
	}
	if e.skew = skew; skew != 0 {
		e.record = shifted(e.record, skew, t.cfg.slot)
	}
	if e.over(t.cfg.epoch(now), now) {
		return
	}
	o := &t.offers[i]
	at, found := slices.BinarySearchFunc(o.remote, e.instance, func(r remote, instance uint64) int {
		return cmp.Compare(r.instance, instance)
	})
	if !found && len(o.remote) >= maxInstances {
		return
	}
	t.heed(i, e.record, now)
	switch {
	case !found:
		e.record = bytes.Clone(e.record)
		o.remote = slices.Insert(o.remote, at, e.remote)
	case e.newer(&o.remote[at]):
		e.record = bytes.Clone(e.record)
		o.remote[at] = e.remote
	default:
		return
	}
	t.touch(i)
}

// newer: of one version there is one record, as the clocks of those who sent it on have
// it. Of these the one counts that was the least late; of what only somebody who lies
// sends, the same everywhere.
func (r *remote) newer(than *remote) bool {
	return cmp.Or(cmp.Compare(r.version, than.version), cmp.Compare(r.skew, than.skew), bytes.Compare(r.record, than.record)) > 0
}

// heed takes over the deadline of another instance, and what kind of answers it saw.
func (t *Table) heed(i int32, record []byte, now int64) {
	o, epoch := &t.offers[i], t.cfg.epoch(now)
	m := &t.models[o.model]
	till, _ := visit(record, visitor{sample: func(kind int, e uint32, _ int, _ uint32) {
		if ago := age(epoch, e); kind == streamed && ago < epoch-m.streamed {
			t.sawStream(m, epoch-ago)
		}
	}})
	if till <= now+int64(t.cfg.MaxCooldown) && till > o.coolTill { // its clock may be wrong, or its configuration
		o.extend(till)
		t.touch(i)
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
