package extproc

import (
	"bytes"
	"errors"
	"fmt"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/shunt-gateway/shunt/extproc/openai"
)

// intake collects a request's messages: headers, then the body in one message or
// several. Trailers are noticed and refused: Envoy 1.40 sends the body of a request
// with trailers twice, beyond its content-length, when ext_proc has answered it.
type intake struct {
	headers  *extprocv3.HttpHeaders
	body     []byte
	chunks   int
	trailers bool
}

var errOrder = errors.New("messages out of order")

// add takes one message and reports whether the request is complete.
func (in *intake) add(m *extprocv3.ProcessingRequest) (complete bool, err error) {
	switch r := m.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		if in.headers != nil || r.RequestHeaders == nil {
			return false, fmt.Errorf("%w: request_headers came twice or empty", errOrder)
		}
		in.headers = r.RequestHeaders
		return r.RequestHeaders.GetEndOfStream(), nil
	case *extprocv3.ProcessingRequest_RequestBody:
		if in.headers == nil {
			return false, fmt.Errorf("%w: request_body before request_headers", errOrder)
		}
		in.chunks++
		if in.chunks == 1 {
			in.body = r.RequestBody.GetBody()
		} else {
			in.body = append(in.body, r.RequestBody.GetBody()...)
		}
		if !r.RequestBody.GetEndOfStream() && in.whole() {
			in.trailers = true // Envoy keeps them back until the body is answered
			return true, nil
		}
		return r.RequestBody.GetEndOfStream(), nil
	case *extprocv3.ProcessingRequest_RequestTrailers:
		if in.headers == nil {
			return false, fmt.Errorf("%w: request_trailers before request_headers", errOrder)
		}
		in.trailers = true
		return true, nil
	default:
		return false, fmt.Errorf("unexpected message %T", r)
	}
}

// whole reports whether the body is a JSON object from end to end.
func (in *intake) whole() bool {
	if !bytes.HasSuffix(bytes.TrimRight(in.body, " \t\r\n"), []byte{'}'}) {
		return false
	}
	_, err := openai.Scan(in.body)
	return err == nil
}

// answer lines up one response per message taken: the headers' is given, the body
// goes into the last body message, and those before it are emptied.
func (in *intake) answer(head *extprocv3.ProcessingResponse, body []byte) []*extprocv3.ProcessingResponse {
	out := make([]*extprocv3.ProcessingResponse, 0, 2)
	out = append(out, head)
	for i := 1; i < in.chunks; i++ {
		out = append(out, bodyResponse(nil))
	}
	if in.chunks > 0 {
		out = append(out, bodyResponse(body))
	}
	return out
}

func bodyResponse(body []byte) *extprocv3.ProcessingResponse {
	m := &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: body}}
	if body == nil {
		m.Mutation = &extprocv3.BodyMutation_ClearBody{ClearBody: true}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{
		RequestBody: &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: m}},
	}}
}
