package billing

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
)

func TestHasher(t *testing.T) {
	key := []byte(strings.Repeat("k", HasherKeySize))
	h, err := NewHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("key\x00sk-secret"))
	if got, want := h.APIKey([]byte("sk-secret")), hex.EncodeToString(mac.Sum(nil)[:16]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	other, err := NewHasher([]byte(strings.Repeat("l", HasherKeySize)))
	if err != nil {
		t.Fatal(err)
	}
	same := h.APIKey([]byte("sk-secret"))
	for what, got := range map[string]string{
		"another key":       other.APIKey([]byte("sk-secret")),
		"another caller":    h.APIKey([]byte("sk-secret2")),
		"a user, not a key": h.User([]byte("sk-secret")),
		"nobody":            h.APIKey(nil),
	} {
		if got == same {
			t.Errorf("%s: the same hash", what)
		}
	}
	if h.APIKey(nil) != "" || h.User([]byte{}) != "" {
		t.Error("nobody has a subject")
	}
	key[0] = 'x'
	if h.APIKey([]byte("sk-secret")) != same {
		t.Error("the hasher shares its caller's key")
	}
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := NewHasher(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
	}
}

func TestHasherIsShared(t *testing.T) {
	h, err := NewHasher(make([]byte, HasherKeySize))
	if err != nil {
		t.Fatal(err)
	}
	want := h.APIKey([]byte("a"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if h.APIKey([]byte("a")) != want {
					t.Error("hashes mix")
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestHasherAllocations(t *testing.T) {
	h, err := NewHasher(make([]byte, HasherKeySize))
	if err != nil {
		t.Fatal(err)
	}
	caller := []byte("sk-0123456789abcdef0123456789abcdef")
	h.APIKey(caller)
	// The least of several runs: the race detector makes sync.Pool forgetful.
	least := 100.0
	for range 20 {
		least = min(least, testing.AllocsPerRun(1, func() { h.APIKey(caller) }))
	}
	if least > 1 {
		t.Errorf("%v allocations, want the string alone", least)
	}
}

func BenchmarkHasher(b *testing.B) {
	h, err := NewHasher(make([]byte, HasherKeySize))
	if err != nil {
		b.Fatal(err)
	}
	caller := []byte("sk-0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		h.APIKey(caller)
	}
}
