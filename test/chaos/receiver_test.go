package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/shunt-gateway/shunt/test/harness"
)

// receiver takes billing events over HTTP as long as answer says 204.
type receiver struct {
	addr string

	mu     sync.Mutex
	answer int
	got    map[string]int // how often, by id
}

func newReceiver(t *testing.T, answer int) *receiver {
	t.Helper()
	r := &receiver{answer: answer, got: map[string]int{}}
	r.addr = harness.StartServer(t, r, nil).Addr
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var list []harness.Event
	body, err := io.ReadAll(req.Body)
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil || req.Header.Get("content-type") != "application/cloudevents-batch+json":
		w.WriteHeader(http.StatusBadRequest)
		return
	case r.answer == http.StatusNoContent:
		for _, e := range list {
			r.got[e.ID]++
		}
	}
	w.WriteHeader(r.answer)
}

func (r *receiver) say(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = status
}

// counts is how often each event came.
func (r *receiver) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]int{}
	for id, n := range r.got {
		all[id] = n
	}
	return all
}

func (r *receiver) sink() string {
	return `{http: {url: "http://` + r.addr + `/events", batch: 100, timeout: 60s}}`
}

var requestID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// lost are the ids that shunt logged as given up.
func lost(s *harness.Shunt) map[string]bool {
	ids := map[string]bool{}
	for line := range strings.Lines(s.Output()) {
		if strings.Contains(line, "events are LOST") {
			for _, id := range requestID.FindAllString(line, -1) {
				ids[id] = true
			}
		}
	}
	return ids
}

// metric is the sum of a metric's values.
func metric(s *harness.Shunt, name string) (sum float64, err error) {
	resp, err := http.Get(s.Admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	found := false
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				return 0, err
			}
			sum, found = sum+v, true
		}
	}
	if !found {
		return 0, fmt.Errorf("no metric %s", name)
	}
	return sum, nil
}

func wantMetric(t *testing.T, s *harness.Shunt, name string, want func(float64) bool) {
	t.Helper()
	harness.Eventually(t, "metric "+name, func() error {
		v, err := metric(s, name)
		if err == nil && !want(v) {
			err = fmt.Errorf("it is %v", v)
		}
		return err
	})
}

func exactly(n int) func(float64) bool { return func(v float64) bool { return v == float64(n) } }
