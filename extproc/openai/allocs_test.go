//go:build !race

// Without the race detector, which makes a sync.Pool forget at random.

package openai

import "testing"

// One allocation: the members that the Object keeps.
func TestScanAllocs(t *testing.T) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		body := chatBody(size)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := Scan(body); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 1 {
			t.Errorf("%d KB: %v allocations, want at most 1", size>>10, allocs)
		}
	}
}

// No allocation grows with the body: the members, the Object, the plan.
func TestSpliceAllocs(t *testing.T) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		body := chatBody(size)
		dst := make([]byte, 0, 2*len(body)+4096)
		allocs := testing.AllocsPerRun(100, func() { splice(dst, body) })
		if allocs > 3 {
			t.Errorf("%d KB: %v allocations, want at most 3", size>>10, allocs)
		}
	}
}
