package state

import "sync/atomic"

// Health is what /readyz tells of the engine.
type Health struct {
	Mode        string       `json:"mode"` // embedded or external
	Connected   bool         `json:"connected"`
	Server      string       `json:"server,omitempty"` // without password
	Preferences BucketHealth `json:"preferences"`
	Sticky      BucketHealth `json:"sticky"`
	StickyQueue int          `json:"sticky_queue"` // records not written yet
}

// BucketHealth is how far an instance knows a bucket.
type BucketHealth struct {
	Current bool   `json:"current"`           // all changes so far are known
	Trouble string `json:"trouble,omitempty"` // why not
}

// Health reports the engine's state. The engine serves what it can in every state.
func (s *State) Health() Health {
	h := Health{
		Mode: "external", Connected: s.conn.IsConnected(), Server: s.conn.ConnectedUrlRedacted(),
		Preferences: s.prefs.watch.health(), Sticky: s.sticky.watch.health(), StickyQueue: s.sticky.queue.len(),
	}
	if s.server != nil {
		h.Mode, h.Server = "embedded", ""
	}
	return h
}

func (w *watch) health() BucketHealth {
	h := BucketHealth{Current: w.current.Load()}
	if why := w.trouble.Load(); why != nil && !h.Current {
		h.Trouble = *why
	}
	return h
}

// Counters count since Open; all only grow.
type Counters struct {
	PreferencesCached      uint64 // Gets answered from memory
	PreferencesLoaded      uint64 // Gets that asked NATS
	PreferencesUnverified  uint64 // Gets answered from memory because NATS could not be asked
	PreferencesUnavailable uint64 // Gets, Updates and Deletes that failed for want of NATS
	PreferencesUpdated     uint64 // Updates and Deletes that changed something
	PreferencesConflicts   uint64 // rounds of Update that another writer made void

	StickyHits    uint64 // Lookups that found a provider
	StickyMisses  uint64
	StickySkipped uint64 // Records that changed next to nothing
	StickyWritten uint64 // Records that NATS acknowledged
	StickyDropped uint64 // Records that the queue had no room for
	StickyFailed  uint64 // Records that NATS refused or did not acknowledge

	Foreign       uint64 // values in a bucket that are not ours
	WatchRestarts uint64 // times that following a bucket was interrupted
}

type counters struct {
	prefsCached, prefsLoaded, prefsUnverified, prefsUnavailable, prefsUpdated, prefsConflicts    atomic.Uint64
	stickyHits, stickyMisses, stickySkipped, stickyWritten, stickyDropped, stickyFailed, foreign atomic.Uint64
}

// Counters returns the counts of this moment.
func (s *State) Counters() Counters {
	c := &s.count
	return Counters{
		PreferencesCached: c.prefsCached.Load(), PreferencesLoaded: c.prefsLoaded.Load(),
		PreferencesUnverified: c.prefsUnverified.Load(), PreferencesUnavailable: c.prefsUnavailable.Load(),
		PreferencesUpdated: c.prefsUpdated.Load(), PreferencesConflicts: c.prefsConflicts.Load(),
		StickyHits: c.stickyHits.Load(), StickyMisses: c.stickyMisses.Load(), StickySkipped: c.stickySkipped.Load(),
		StickyWritten: c.stickyWritten.Load(), StickyDropped: c.stickyDropped.Load(), StickyFailed: c.stickyFailed.Load(),
		Foreign:       c.foreign.Load(),
		WatchRestarts: s.prefs.watch.restarts.Load() + s.sticky.watch.restarts.Load(),
	}
}
