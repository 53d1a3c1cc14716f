package extproc

import (
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/policy"
)

// Header is a request header, its name in lower case.
type Header struct{ Name, Value string }

// Explain decides a request as Process would and says why, for a request that
// nobody sent (CMD-4): without chance, measurements, and what is saved of callers.
// Where nobody can serve it, both the refusal and the explanation say so.
func Explain(w *World, path string, hs []Header, body []byte, now time.Time) (*policy.Explanation, *policy.Error) {
	live := &Live{}
	live.Store(w)
	d := &Decider{Live: live}
	rd, refusal := d.read(message(path, hs), body)
	if refusal != nil {
		return nil, refusal
	}
	dec, refusal := policy.Decide(rd.req, w.Snapshot, now, 0)
	if dec == nil {
		return nil, refusal
	}
	return policy.Explain(rd.req, dec, w.Snapshot), refusal
}

func message(path string, hs []Header) *extprocv3.HttpHeaders {
	m := &corev3.HeaderMap{}
	for _, h := range append(hs, Header{":path", path}) {
		if strings.HasPrefix(h.Name, names.Prefix) {
			continue // SEC-1: Envoy strips it
		}
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: h.Name, RawValue: []byte(h.Value)})
	}
	return &extprocv3.HttpHeaders{Headers: m}
}
