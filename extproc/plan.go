package extproc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// plan is what a retry needs to know. It travels in the request's metadata, so a
// retry can be served by any replica, after any reload or restart.
type plan struct {
	// AskedUsage: attempt 1 asked for a usage chunk that the client did not ask
	// for, so an attempt that cannot be asked has to be un-asked (BILL-7).
	AskedUsage bool `json:"asked_usage,omitempty"`
	// Second and Deadline are until when a second attempt may begin, and any; in ms
	// since 1970. 0: at any time.
	Second   int64 `json:"second,omitempty"`
	Deadline int64 `json:"deadline,omitempty"`
	// Catalog is the hash that offers' indexes belong to. It is there where the retry
	// budget is to hear of failures: not if attempts are given less time than usual.
	Catalog  string        `json:"catalog,omitempty"`
	Attempts []planAttempt `json:"attempts"`
}

type planAttempt struct {
	Model string `json:"model"` // the offer's upstream id
	Path  string `json:"path"`  // with the client's query
	Usage bool   `json:"usage,omitempty"`
	Offer int    `json:"offer,omitempty"` // its index, beside Catalog
	Wait  int64  `json:"wait,omitempty"`  // see timeouts.wait, in ms
	Bound bool   `json:"bound,omitempty"` // the deadline may cut it short
}

// appendPlan writes the plan of a decision with more than one attempt.
func appendPlan(dst []byte, d *policy.Decision, rq *routed) []byte {
	dst = append(dst, `{"asked_usage":`...)
	dst = strconv.AppendBool(dst, rq.askUsage)
	if rq.second > 0 {
		dst = strconv.AppendInt(append(dst, `,"second":`...), rq.second, 10)
	}
	if rq.deadline > 0 {
		dst = strconv.AppendInt(append(dst, `,"deadline":`...), rq.deadline, 10)
	}
	if rq.catalog != "" {
		dst = openai.AppendString(append(dst, `,"catalog":`...), rq.catalog)
	}
	dst = append(dst, `,"attempts":[`...)
	for i, a := range d.Attempts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"model":`...)
		dst = openai.AppendString(dst, a.Offer.Upstream)
		dst = append(dst, `,"path":`...)
		dst = openai.AppendString(dst, rq.upstreamPath(a.Offer))
		dst = append(dst, `,"usage":`...)
		dst = strconv.AppendBool(dst, rq.wantUsage && a.Offer.StreamUsage)
		if rq.catalog != "" {
			dst = strconv.AppendInt(append(dst, `,"offer":`...), int64(a.Offer.Index), 10)
		}
		if wait := rq.timeouts.wait(i, a.Offer.Provider); wait > 0 {
			dst = strconv.AppendInt(append(dst, `,"wait":`...), wait.Milliseconds(), 10)
			dst = strconv.AppendBool(append(dst, `,"bound":`...), i >= rq.timeouts.bound)
		}
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}

var errNoPlan = errors.New("no plan in the request's metadata")

// planFor reads the attempt's part of a plan; n counts from 1.
func planFor(text string, n int) (p plan, a planAttempt, err error) {
	if text == "" {
		return p, a, errNoPlan
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return p, a, fmt.Errorf("plan: %w", err)
	}
	if n < 1 || n > len(p.Attempts) {
		return p, a, fmt.Errorf("plan: attempt %d of %d", n, len(p.Attempts))
	}
	return p, p.Attempts[n-1], nil
}
