package extproc

import (
	"fmt"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// retrySession rewrites the second and later attempts: path, upstream model id,
// and whether usage is asked for. Every value is absolute, because what an attempt
// writes stays on the request for the next.
type retrySession struct {
	decider *Decider
	in      intake
	plan    string
	attempt int
	out     []*extprocv3.ProcessingResponse
}

func (s *retrySession) push(m *extprocv3.ProcessingRequest) (bool, error) {
	if f := m.GetMetadataContext().GetFilterMetadata()[names.Namespace].GetFields()[names.KeyPlan]; f != nil {
		s.plan = f.GetStringValue()
	}
	complete, err := s.in.add(m)
	if err != nil || !complete {
		return false, err
	}
	if s.attempt, err = attemptCount(s.in.headers); err != nil {
		return false, err
	}
	return true, s.rewrite()
}

func attemptCount(h *extprocv3.HttpHeaders) (int, error) {
	for _, v := range h.GetHeaders().GetHeaders() {
		if v.GetKey() == "x-envoy-attempt-count" {
			n, err := strconv.Atoi(string(v.GetRawValue()))
			if err != nil {
				return 0, fmt.Errorf("x-envoy-attempt-count %q: not a number", v.GetRawValue())
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("no x-envoy-attempt-count on a retry")
}

func (s *retrySession) rewrite() error {
	p, attempt, err := planFor(s.plan, s.attempt)
	if err != nil {
		return err
	}
	now := s.decider.Now()
	s.blame(&p, now)
	if late := p.late(s.attempt, now); late != nil {
		s.out = []*extprocv3.ProcessingResponse{refuse(late, setHeader(names.HeaderAttempts, strconv.Itoa(s.attempt-1)))}
		return nil
	}
	o, err := openai.Scan(s.in.body)
	if err != nil {
		return fmt.Errorf("retry body: %w", err)
	}
	edits := []openai.Edit{openai.Set("model", openai.AppendString(nil, attempt.Model))}
	switch {
	case attempt.Usage:
		ask, _ := openai.AskUsage(&o)
		edits = append(edits, ask)
	case p.AskedUsage:
		edits = append(edits, openai.UnaskUsage(&o))
	}
	body := openai.Rewrite(make([]byte, 0, len(s.in.body)+256), &o, edits)
	s.out = s.in.answer(headersResponse(&extprocv3.CommonResponse{
		HeaderMutation: p.head(&attempt, len(body), now),
	}), body)
	return nil
}

// blame tells the budget of the attempt that this one follows.
func (s *retrySession) blame(p *plan, now time.Time) {
	world := s.decider.Live.Load()
	if world == nil || world.Budget == nil || s.attempt < 2 || p.Catalog != catalogID(world.Budget.catalog) {
		return
	}
	world.Budget.Failed(p.Attempts[s.attempt-2].Offer, now)
}

// The answers in place of an attempt that would begin too late.
var (
	errDeadline = &policy.Error{Status: 504, Code: openai.CodeDeadlineExceeded, Message: "no provider answered in time"}
	errNoAnswer = &policy.Error{Status: 502, Code: openai.CodeAllProvidersFailed, Message: "no provider answered"}
)

// late is the answer where attempt n may not begin any more. A first attempt that was
// answered after routing.fallback_within has no second (see envoy's end of an attempt),
// so here it had no answer.
func (p *plan) late(n int, now time.Time) *policy.Error {
	at := now.UnixMilli()
	switch {
	case p.Deadline > 0 && at >= p.Deadline:
		return errDeadline
	case n == 2 && p.Second > 0 && at >= p.Second:
		return errNoAnswer
	}
	return nil
}

// head is what a retry's headers become.
func (p *plan) head(a *planAttempt, size int, now time.Time) *extprocv3.HeaderMutation {
	m := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader(":path", a.Path),
		setHeader("content-length", strconv.Itoa(size)),
	}}
	gone := []string{names.HeaderWait, names.HeaderDeadline} // another attempt's
	if a.Wait > 0 {
		wait, ends := time.Duration(a.Wait)*time.Millisecond, false
		if a.Bound {
			wait, ends = untilDeadline(wait, time.UnixMilli(p.Deadline).Sub(now))
		}
		set := waitHeaders(wait, ends)
		m.SetHeaders, gone = append(m.SetHeaders, set...), gone[len(set):]
	}
	m.RemoveHeaders = gone
	return m
}

func (s *retrySession) answers() []*extprocv3.ProcessingResponse { return s.out }

func headersResponse(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{
		RequestHeaders: &extprocv3.HeadersResponse{Response: c},
	}}
}
