package extproc

import (
	"fmt"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/openai"
)

// retrySession rewrites the second and later attempts: path, upstream model id,
// and whether usage is asked for. Every value is absolute, because what an attempt
// writes stays on the request for the next.
type retrySession struct {
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
		HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
			setHeader(":path", attempt.Path),
			setHeader("content-length", strconv.Itoa(len(body))),
		}},
	}), body)
	return nil
}

func (s *retrySession) answers() []*extprocv3.ProcessingResponse { return s.out }

func headersResponse(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{
		RequestHeaders: &extprocv3.HeadersResponse{Response: c},
	}}
}
