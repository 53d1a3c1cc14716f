package accesslog

import (
	"strconv"
	"testing"
	"time"

	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/shunt-gateway/shunt/extproc/billing"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(s int) billing.Attempt {
	return billing.Attempt{Provider: strconv.Itoa(s), Start: noon.Add(time.Duration(s) * time.Second)}
}

func TestJoinOrdersAndForgets(t *testing.T) {
	j := newJoin(10, time.Hour)
	for _, s := range []int{3, 1, 2, 1} {
		if !j.add("a", at(s), noon) {
			t.Fatal("full")
		}
	}
	got := j.take("a")
	if len(got) != 3 || got[0].Provider != "1" || got[1].Provider != "2" || got[2].Provider != "3" {
		t.Errorf("%+v", got)
	}
	if j.take("a") != nil || j.take("") != nil || len(j.byID) != 0 || j.age.Len() != 0 {
		t.Error("something is left")
	}
}

func TestJoinIsBounded(t *testing.T) {
	j := newJoin(3, time.Minute)
	for i := range 5 {
		j.add(strconv.Itoa(i), at(i), noon)
	}
	for i, want := range []int{0, 0, 1, 1, 1} { // the oldest go first
		if got := j.take(strconv.Itoa(i)); len(got) != want {
			t.Errorf("%d: %d attempts, want %d", i, len(got), want)
		}
	}

	j.add("old", at(0), noon)
	j.add("young", at(0), noon.Add(59*time.Second))
	j.add("new", at(0), noon.Add(time.Minute))
	if j.take("old") != nil || j.take("young") == nil || j.take("new") == nil {
		t.Error("not the expired one was forgotten")
	}

	for i := range joinPerRequest {
		if !j.add("busy", at(i), noon) {
			t.Fatal("full too early")
		}
	}
	if j.add("busy", at(joinPerRequest), noon) {
		t.Error("one request has attempts without end")
	}
}

// What never gets a request (its client left, and the request's entry came first)
// is not kept.
func TestLateAttemptsAreNotKept(t *testing.T) {
	_, entries := recorded(t)
	s, _ := observed()
	list := entries["cancel-stream"]
	if list[0].GetCommonProperties().GetAccessLogType() != logv3.AccessLogType_DownstreamEnd {
		t.Fatal("the recording should have the request before its attempt")
	}
	for _, e := range list {
		if err := s.message(t.Context(), batch(e), discard()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.join.byID); n != 0 {
		t.Errorf("%d requests still waited for", n)
	}
}

// Attempts at what is no provider are nobody's business.
func TestPassthroughIsIgnored(t *testing.T) {
	s, out := observed()
	e := &logv3.HTTPAccessLogEntry{
		CommonProperties: &logv3.AccessLogCommon{AccessLogType: logv3.AccessLogType_UpstreamEnd, UpstreamCluster: "shunt_passthrough_0"},
		Request:          &logv3.HTTPRequestProperties{RequestId: "x"},
	}
	if err := s.message(t.Context(), batch(e), discard()); err != nil || out.Len() > 0 || len(s.join.byID) > 0 {
		t.Errorf("%v, %s", err, out)
	}
}
