package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shunt-gateway/shunt/policy/prefs"
)

func TestEmbedded(t *testing.T) {
	o := options(t, "")
	s := open(t, o)
	if s.server.Addr() != nil || s.Health().Mode != "embedded" {
		t.Errorf("the embedded server listens on %v, mode %s", s.server.Addr(), s.Health().Mode)
	}
	info, err := os.Stat(filepath.Join(o.DataDir, "nats"))
	if err != nil || info.Mode() != fs.ModeDir|0o700 { // SEC-3
		t.Errorf("its directory: %v, %v", info.Mode(), err)
	}
	current(t, s)
	want(t, s, "u1", "")
	set(t, s, "u1", "novita", "together")
	want(t, s, "u1", "novita together")
	doc, rev, err := s.Preferences().Get(t.Context(), "u1")
	if err != nil || rev == 0 {
		t.Fatalf("revision %d, %v", rev, err)
	}
	set(t, s, "u1", doc.Preferred[0])
	if _, later, _ := s.Preferences().Get(t.Context(), "u1"); later <= rev {
		t.Errorf("revision %d after %d", later, rev)
	}
	set(t, s, "u2", "moonshot")
	closeState(t, s)

	s = open(t, o) // what was saved is there after a restart
	want(t, s, "u1", "novita")
	want(t, s, "u2", "moonshot")
	if err := s.Preferences().Delete(t.Context(), "u1"); err != nil {
		t.Fatal(err)
	}
	want(t, s, "u1", "")
	closeState(t, s)

	s = open(t, o)
	current(t, s)
	want(t, s, "u1", "")
	want(t, s, "u2", "moonshot")
	set(t, s, "u1", "again")
	want(t, s, "u1", "again")
}

// A deleted document leaves none of its earlier versions behind.
func TestDeleteRemovesHistory(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	for i := range 5 {
		set(t, s, "u", fmt.Sprintf("p%d", i))
	}
	if err := s.Preferences().Delete(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	stream, err := s.JetStream().Stream(t.Context(), "KV_shunt_prefs")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d messages are left, want the marker alone", n)
	}
}

func TestUserIsAHash(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	for _, user := range []string{"", "a.b", "*", ">", "a b", "é", strings.Repeat("a", 129)} {
		_, _, err := s.Preferences().Get(t.Context(), user)
		if err == nil || errors.Is(err, prefs.ErrUnavailable) {
			t.Errorf("Get of %q: %v", user, err)
		}
		if err := trySet(t.Context(), s, user, "x"); err == nil {
			t.Errorf("Update of %q was done", user)
		}
		if err := s.Preferences().Delete(t.Context(), user); err == nil {
			t.Errorf("Delete of %q was done", user)
		}
	}
	set(t, s, strings.Repeat("a", 127)+"-", "x")
}

func TestUpdateReturnsTheChangesError(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	set(t, s, "u", "before")
	_, err := s.Preferences().Update(t.Context(), "u", func(prefs.Document) (prefs.Document, error) {
		return prefs.Document{}, &prefs.Problem{Status: 422, Code: prefs.CodeInvalidInput}
	})
	var problem *prefs.Problem
	if !errors.As(err, &problem) || problem.Status != 422 {
		t.Errorf("got %v, want the change's own error", err)
	}
	want(t, s, "u", "before")
}

// An Update that changes nothing writes nothing.
func TestUpdateToTheSame(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	set(t, s, "u", "a")
	_, before, _ := s.Preferences().Get(t.Context(), "u")
	set(t, s, "u", "a")
	if _, after, _ := s.Preferences().Get(t.Context(), "u"); after != before {
		t.Errorf("revision %d became %d", before, after)
	}
}

// Two instances that change one document at the same time lose no change that was
// acknowledged, and one that is always overtaken gives up.
func TestConflicts(t *testing.T) {
	_, url := startNATS(t, lone(t))
	a, b := open(t, options(t, url)), open(t, options(t, url))
	current(t, a, b)
	var mu sync.Mutex
	var acknowledged []string
	var wg sync.WaitGroup
	for i, s := range []*State{a, b, a, b} {
		wg.Go(func() {
			for n := range 25 {
				name := fmt.Sprintf("p%d-%d", i, n)
				_, err := s.Preferences().Update(t.Context(), "u", func(d prefs.Document) (prefs.Document, error) {
					d.Preferred = append(append([]string(nil), d.Preferred...), name)
					return d, nil
				})
				switch {
				case err == nil:
					mu.Lock()
					acknowledged = append(acknowledged, name)
					mu.Unlock()
				case !errors.Is(err, prefs.ErrConflict):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	doc, _, err := a.Preferences().Get(t.Context(), "u")
	if err != nil || len(acknowledged) == 0 {
		t.Fatal(err, acknowledged)
	}
	// Both instances may be behind the other for a moment.
	eventually(t, "every acknowledged change is there", func() bool {
		doc, _, err = a.Preferences().Get(t.Context(), "u")
		return err == nil && len(doc.Preferred) == len(acknowledged)
	})
	for _, name := range acknowledged {
		if !strings.Contains(" "+strings.Join(doc.Preferred, " ")+" ", " "+name+" ") {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}

	rounds := 0
	_, err = a.Preferences().Update(t.Context(), "u", func(d prefs.Document) (prefs.Document, error) {
		rounds++
		set(t, b, "u", fmt.Sprint(rounds))
		d.Preferred = []string{"mine"}
		return d, nil
	})
	if !errors.Is(err, prefs.ErrConflict) || rounds != updateRounds {
		t.Errorf("after %d rounds: %v", rounds, err)
	}
	if a.Counters().PreferencesConflicts < updateRounds {
		t.Errorf("%d conflicts were counted", a.Counters().PreferencesConflicts)
	}
}

// On one instance, a read that begins after a change was acknowledged sees it, however
// small the cache is and whatever the watch of the bucket reports meanwhile.
func TestReadYourWrites(t *testing.T) {
	_, url := startNATS(t, lone(t))
	o := options(t, url)
	o.State.Cache.Preferences = 64 << 10 // far too small for what follows
	a, b := open(t, o), open(t, o)
	current(t, a, b)
	filler := strings.Fields(strings.Repeat("provider-with-a-name ", 100))
	var wg sync.WaitGroup
	for worker := range 6 {
		s := []*State{a, b}[worker%2]
		wg.Go(func() {
			for n := range 60 {
				user := fmt.Sprintf("w%d-u%d", worker, n%4)
				name := fmt.Sprintf("v%d", n)
				set(t, s, user, append([]string{name}, filler...)...)
				for range 3 {
					if g := got(t, s, user); !strings.HasPrefix(g, name+" ") && !strings.HasPrefix(g, prefs.ErrUnavailable.Error()) {
						t.Errorf("%s: after the write of %s a read gives %.30s", user, name, g)
						return
					}
				}
				// Readers of the others' documents put older revisions on their way.
				for w := range 6 {
					_ = got(t, s, fmt.Sprintf("w%d-u%d", w, n%4))
				}
			}
		})
	}
	wg.Wait()
	for _, s := range []*State{a, b} {
		for worker := range 6 {
			for u := range 4 {
				user, last := fmt.Sprintf("w%d-u%d", worker, u), fmt.Sprintf("v%d ", 56+u)
				eventually(t, "all see the last write of "+user, func() bool { return strings.HasPrefix(got(t, s, user), last) })
			}
		}
	}
}

// What one instance saves, the others read, also where they had found that there is
// nothing.
func TestOthersSeeChanges(t *testing.T) {
	_, url := startNATS(t, lone(t))
	a, b := open(t, options(t, url)), open(t, options(t, url))
	current(t, a, b)
	want(t, b, "u", "")
	before := b.Counters()
	want(t, b, "u", "")
	if now := b.Counters(); now.PreferencesLoaded != before.PreferencesLoaded || now.PreferencesCached != before.PreferencesCached+1 {
		t.Errorf("that there is nothing was not remembered: %+v after %+v", now, before)
	}
	set(t, a, "u", "first")
	eventually(t, "the other sees it", func() bool { return got(t, b, "u") == "first" })
	set(t, a, "u", "second")
	eventually(t, "the other sees the change", func() bool { return got(t, b, "u") == "second" })
	if err := a.Preferences().Delete(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other sees that it is gone", func() bool { return got(t, b, "u") == "" })
}

// Values that are not ours are skipped, and do not stand in the way.
func TestForeignValues(t *testing.T) {
	_, url := startNATS(t, lone(t))
	s := open(t, options(t, url))
	current(t, s)
	for subject, data := range map[string]string{
		"$KV.shunt_prefs.u1":                      "hello",
		"$KV.shunt_prefs.u2":                      `{"v":2}`,
		"$KV.shunt_prefs.not.a.user":              `{"v":1}`,
		"$KV.shunt_prefs.u3":                      "",
		"$KV.shunt_sticky.short":                  "novita 1",
		"$KV.shunt_sticky." + testKey(1).String(): "novita",
		"$KV.shunt_sticky." + testKey(2).String(): "novita yesterday",
		"$KV.shunt_sticky." + testKey(3).String(): "\x00\xff 12",
	} {
		if _, err := s.JetStream().Publish(t.Context(), subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all of them were seen", func() bool { return s.Counters().Foreign >= 8 })
	for _, user := range []string{"u1", "u2", "u3"} {
		want(t, s, user, "")
		set(t, s, user, "mine")
		want(t, s, user, "mine")
	}
	again := open(t, options(t, url))
	current(t, again)
	want(t, again, "u1", "mine")
}

func TestContextEnds(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Preferences().Get(ctx, "nobody"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v", err)
	}
	if err := trySet(ctx, s, "nobody", "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Update: %v", err)
	}
	if err := s.Preferences().Delete(ctx, "nobody"); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete: %v", err)
	}
	want(t, s, "nobody", "") // and a client that went away does not keep others from asking
}

// After Close nothing panics, and the answer is that there is no store.
func TestAfterClose(t *testing.T) {
	s := open(t, options(t, ""))
	current(t, s)
	set(t, s, "u", "x")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _, _ = s.Preferences().Get(t.Context(), "u")
				s.Sticky().Record(testKey(1), "novita", testNow())
				s.Sticky().Lookup(testKey(1), testNow())
			}
		})
	}
	closeState(t, s)
	close(stop)
	wg.Wait()
	if _, _, err := s.Preferences().Get(t.Context(), "u"); !errors.Is(err, prefs.ErrUnavailable) {
		t.Errorf("Get: %v", err)
	}
	if err := trySet(t.Context(), s, "u", "y"); !errors.Is(err, prefs.ErrUnavailable) {
		t.Errorf("Update: %v", err)
	}
	if _, ok := s.Sticky().Lookup(testKey(1), testNow()); ok {
		t.Error("Lookup found something")
	}
}
