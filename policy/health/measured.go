package health

import "time"

// remembered is how long the last samples stand in, when no new ones come.
const remembered = int64(24 * time.Hour)

// measured are an offer's percentiles, in seconds and tokens per second.
type measured struct {
	q     [metrics][Quantiles]float64 // zeros: not measured
	n     [metrics]uint32             // samples that they rest on
	stale bool
}

// measured looks at the answers of the kind that the model's clients get: streams, if
// there were any of late. An offer without figures of that kind has those of the other,
// which are no better: a whole answer takes longer than its first byte.
func (t *Table) measured(o *offer, now int64) measured {
	kind := whole
	if t.cfg.epoch(now)-t.models[o.model].streamed < slots {
		kind = streamed
	}
	m := t.measure(o, kind, now)
	if m.q[ttft][0] > 0 && m.q[rate][0] > 0 {
		return m
	}
	other := t.measure(o, 1-kind, now)
	for k := range metrics {
		if m.q[k][0] == 0 {
			m.q[k], m.n[k] = other.q[k], other.n[k]
		}
	}
	return m
}

// measure: percentiles over the window, where that has min_samples; else over the
// last samples, where as many have come; else none. Where more are asked for than are
// kept, and as many have come, the window counts as soon as it has as many as are kept.
func (t *Table) measure(o *offer, kind int, now int64) (m measured) {
	a, enough := &t.sums, uint32(t.cfg.MinSamples)
	t.sum(o, kind, now)
	m.stale = a.n[ttft] < enough
	for k := range metrics {
		known := a.n[k] >= enough
		if !known {
			known = t.came(o, kind, k, now) >= enough
			if a.n[k] < min(enough, lastKept) {
				t.sumLast(o, kind, k, now)
			}
		}
		if known {
			m.q[k], m.n[k] = a.quantiles(k), a.n[k]
		}
	}
	return m
}

// sum makes sums those of the window.
func (t *Table) sum(o *offer, kind int, now int64) {
	epoch := t.cfg.epoch(now)
	t.sums = sums{}
	if w := o.windows[kind]; w != nil {
		w.sum(&t.sums, epoch)
	}
	for i := range o.remote {
		o.remote[i].sum(&t.sums, kind, epoch)
	}
}

// came is how many samples of a metric are remembered, if only as a number.
func (t *Table) came(o *offer, kind, metric int, now int64) (n uint32) {
	if w := o.windows[kind]; w != nil {
		n = w.last[metric].count(now)
	}
	for i := range o.remote {
		n += o.remote[i].came(kind, metric, now)
	}
	return n
}

// sumLast makes sums those of the last samples of one metric.
func (t *Table) sumLast(o *offer, kind, metric int, now int64) {
	t.sums.clear(metric)
	if w := o.windows[kind]; w != nil {
		w.last[metric].sum(&t.sums, now)
	}
	for i := range o.remote {
		o.remote[i].sumLast(&t.sums, kind, metric, now)
	}
}
