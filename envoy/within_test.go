package envoy

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
)

// The pattern means what the number means.
func TestBelow(t *testing.T) {
	for _, limit := range []int{1, 2, 9, 10, 11, 19, 20, 21, 99, 100, 101, 250, 999, 1000, 1500, 2000, 20000, 30499, 99999} {
		re := regexp.MustCompile(`^(?:` + below(strconv.Itoa(limit)) + `)$`)
		for _, n := range []int{0, 1, 5, 9, 10, 11, 18, 19, 20, 21, 49, 98, 99, 100, 101, 199, 249, 250, 251, 998, 999, 1000, 1001,
			1499, 1500, 1999, 2000, 9999, 19999, 20000, 20001, 30498, 30499, 30500, 99998, 99999, 100000} {
			if got := re.MatchString(strconv.Itoa(n)); got != (n < limit) {
				t.Errorf("%d below %d: %v by %s", n, limit, got, re)
			}
		}
	}
}

// FALL-1, with fallback_within: which answers are followed by another attempt.
func TestRetriableEnds(t *testing.T) {
	r := &catalog.Routing{FallbackWithin: 1500 * time.Millisecond, FallbackOn: catalog.FallbackOn{ServerErrors: true, Statuses: []int{404, 429, 503}}}
	m := retriableEnds(r)[0].GetStringMatch().GetSafeRegex().GetRegex()
	re := regexp.MustCompile(`^(?:` + m + `)$`)
	for end, want := range map[string]bool{
		"503 1 0": true, "599 1 1499": true, "429 1 12": true, "404 1 -": true,
		"503 1 1500": false, "429 1 20000": false, "400 1 3": false, "200 1 3": false, "408 1 3": false,
		"503 2 1500": true, "503 10 99999": true, "400 2 1": false, "200 16 1": false, "1503 1 1": false, "503 0 1": false,
	} {
		if got := re.MatchString(end); got != want {
			t.Errorf("%q: %v", end, got)
		}
	}
	if on, statuses := retryOn(r); len(statuses) != 0 || on != "retriable-headers" {
		t.Errorf("beside it: %s %v", on, statuses)
	}
	r.FallbackOn = catalog.FallbackOn{ConnectFailure: true, Reset: true, Timeout: true}
	if got := retriableEnds(r); got != nil {
		t.Errorf("no status is in the list, and it says %v", got)
	}
}
