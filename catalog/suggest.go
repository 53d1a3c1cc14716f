package catalog

import "strings"

const (
	suggestLongest = 64         // longer names are not compared
	suggestBudget  = 20_000_000 // cells of edit-distance tables that one Parse may fill
)

// suggester finds what a misspelt name was meant to be. A file with thousands of
// misspelt names must not take minutes to be refused, so its work is bounded;
// past the budget there are faults without suggestions.
type suggester struct{ spent int }

// nearest returns the candidate with the smallest edit distance to name, the
// first in the alphabet among equals, or "" if none is near enough to be a
// misspelling. A name that a candidate begins with or ends in as a word is as near
// as one with a wrong letter.
func (s *suggester) nearest(name string, candidates []string) string {
	if name == "" || len(name) > suggestLongest {
		return ""
	}
	lower := strings.ToLower(name)
	best, bestDistance := "", max(1, min(len(name)/3, 4))+1
	for _, c := range candidates {
		if len(c) > suggestLongest {
			continue
		}
		candidate := strings.ToLower(c)
		if len(name) >= 3 && (strings.HasPrefix(candidate, lower) || strings.HasSuffix(candidate, "_"+lower)) {
			if bestDistance > 1 {
				best, bestDistance = c, 1
			}
			continue
		}
		if abs(len(c)-len(name)) > bestDistance {
			continue
		}
		s.spent += len(name) * len(c)
		if s.spent > suggestBudget {
			return best
		}
		d := distance(lower, candidate)
		if d < bestDistance || d == bestDistance && best != "" && c < best {
			best, bestDistance = c, d
		}
	}
	return best
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// distance is the number of bytes inserted, deleted, replaced or swapped with
// their neighbour that turn a into b. Both are at most suggestLongest long, or
// a little longer after lower-casing.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, prev, row := rows[0], rows[1], rows[2]
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(b)]
}
