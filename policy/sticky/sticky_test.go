package sticky

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func keyer(t testing.TB, secret byte) *Keyer {
	t.Helper()
	k, err := NewKeyer(bytes.Repeat([]byte{secret}, SecretSize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// part is one call of a Hash.
type part struct {
	tag byte
	raw string
}

// shape is everything that a key depends on.
type shape struct {
	caller, model string
	parts         []part
}

func (s shape) key(k *Keyer) Key {
	h := k.Begin(s.caller, s.model)
	for _, p := range s.parts {
		switch raw := []byte(p.raw); p.tag {
		case 't':
			h.Tools(raw)
		case 's':
			h.Instruction(raw)
		default:
			h.First(raw)
		}
		// What was fed is not kept: the caller's buffer is its own again.
	}
	return h.Sum()
}

// naive is the key by its definition, in one piece.
func (s shape) naive(secret []byte) Key {
	derive := hmac.New(sha256.New, secret)
	derive.Write([]byte("shunt sticky key v1"))
	mac := hmac.New(sha256.New, derive.Sum(nil))
	for _, p := range append([]part{{'c', s.caller}, {'m', s.model}}, s.parts...) {
		text := append([]byte{p.tag}, binary.BigEndian.AppendUint64(nil, uint64(len(p.raw)))...)
		mac.Write(append(text, p.raw...))
	}
	return Key(mac.Sum(nil)[:16])
}

func TestKeyAgainstNaive(t *testing.T) {
	k := keyer(t, 7)
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) shape {
			s := shape{caller: rapid.String().Draw(t, label+"caller"), model: rapid.StringN(0, 200, -1).Draw(t, label+"model")}
			for range rapid.IntRange(0, 4).Draw(t, label+"parts") {
				s.parts = append(s.parts, part{rapid.SampledFrom([]byte("tsf")).Draw(t, "tag"), rapid.String().Draw(t, "raw")})
			}
			return s
		}
		a, b := draw("a"), draw("b")
		ka, kb := a.key(k), b.key(k)
		secret := bytes.Repeat([]byte{7}, SecretSize)
		if ka != a.naive(secret) || kb != b.naive(secret) || ka != a.key(k) {
			t.Fatalf("%+v: %v", a, ka)
		}
		if back, err := ParseKey(ka.String()); err != nil || back != ka {
			t.Fatalf("%v reads as %v, %v", ka, back, err)
		}
	})
}

// CACHE-2: whatever the key is for changes it.
func TestEverythingCounts(t *testing.T) {
	k := keyer(t, 1)
	base := shape{"caller", "model", []part{{'t', `[{}]`}, {'s', `"be kind"`}, {'f', `"hello"`}}}
	others := []shape{
		{"caller2", "model", base.parts},
		{"caller", "model2", base.parts},
		{"callerm", "odel", base.parts},
		{"caller", "model", base.parts[1:]},
		{"caller", "model", base.parts[:2]},
		{"caller", "model", []part{{'t', `[{}]`}, {'f', `"be kind"`}, {'s', `"hello"`}}},
		{"caller", "model", []part{{'s', `"be kind"`}, {'t', `[{}]`}, {'f', `"hello"`}}},
		{"caller", "model", []part{{'t', `[{}]`}, {'s', `"be kind""hello"`}}},
		{"caller", "model", []part{{'t', `[{}]`}, {'s', `"be kind"`}, {'f', `"hello"`}, {'s', ``}}},
		{"caller", "model", []part{{'t', `[{}] `}, {'s', `"be kind"`}, {'f', `"hello"`}}},
	}
	seen := map[Key]int{base.key(k): -1}
	for i, o := range others {
		key := o.key(k)
		if j, twice := seen[key]; twice {
			t.Errorf("shapes %d and %d have one key", i, j)
		}
		seen[key] = i
	}
	if base.key(keyer(t, 2)) == base.key(k) {
		t.Error("the secret does not count")
	}
	if base.key(keyer(t, 1)) != base.key(k) {
		t.Error("two instances with one secret disagree")
	}
}

func TestParseKeyIsStrict(t *testing.T) {
	good := shape{"c", "m", nil}.key(keyer(t, 1)).String()
	if len(good) != 22 {
		t.Errorf("%q has %d characters", good, len(good))
	}
	for _, s := range []string{"", good[:21], good + "A", good[:21] + "B", strings.Repeat(".", 22), good[:21] + "=", good[:10] + "\n" + good[11:]} {
		if k, err := ParseKey(s); err == nil {
			t.Errorf("%q was read as %v", s, k)
		}
	}
	if _, err := ParseKey(strings.Repeat("_", 22)); err == nil {
		t.Error("bits beyond the key were ignored: two texts for one key")
	}
}

func TestSecretSize(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := NewKeyer(make([]byte, n)); err == nil {
			t.Errorf("a secret of %d bytes was accepted", n)
		}
	}
}

// A Hash that was dropped leaves nothing behind for the next.
func TestConcurrentUse(t *testing.T) {
	k := keyer(t, 3)
	want := shape{"c", "m", []part{{'f', "x"}}}.key(k)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				h := k.Begin("someone", "else")
				h.First([]byte("secret"))
				h.Drop()
				if got := (shape{"c", "m", []part{{'f', "x"}}}).key(k); got != want {
					t.Errorf("got %v, want %v", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		return // the race detector makes sync.Pool forget on purpose
	}
	k := keyer(t, 4)
	tools, first := bytes.Repeat([]byte("t"), 4000), bytes.Repeat([]byte("f"), 100_000)
	n := testing.AllocsPerRun(200, func() {
		h := k.Begin("0123456789abcdef0123456789abcdef", "moonshotai/kimi-k2.6")
		h.Tools(tools)
		h.First(first)
		h.Sum()
	})
	if n > 0 {
		t.Errorf("%v allocations a key, want none", n)
	}
}

// go test ./policy/sticky -run '^$' -bench .
func BenchmarkKey(b *testing.B) {
	k := keyer(b, 4)
	for name, size := range map[string]int{"1KB": 1 << 10, "64KB": 64 << 10, "1MB": 1 << 20} {
		raw := bytes.Repeat([]byte("x"), size)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				h := k.Begin("caller", "model")
				h.First(raw)
				h.Sum()
			}
		})
	}
}
