package billing

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// A Window against the plain list of what was added.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		w := NewWindow(size)
		var list []string // oldest first; "" where one was removed
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			id := strconv.Itoa(rapid.IntRange(0, 8).Draw(t, "id"))
			known := slices.Contains(list, id)
			if w.Has(id) != known {
				t.Fatalf("Has(%s) is %t", id, !known)
			}
			if rapid.Bool().Draw(t, "add") {
				if w.Add(id) == known {
					t.Fatalf("Add(%s) says new=%t", id, known)
				}
				if !known {
					list = append(list, id)
					list = list[max(len(list)-size, 0):]
				}
			} else {
				w.Remove(id)
				if i := slices.Index(list, id); i >= 0 {
					list[i] = ""
				}
			}
		}
		if len(w.seen) > size {
			t.Fatalf("%d ids in a window of %d", len(w.seen), size)
		}
	})
}
