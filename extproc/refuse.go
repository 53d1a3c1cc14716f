package extproc

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
)

// refuse answers the client in shunt's place, in the API's shape (API-6). The
// details tell Envoy's own error pages to keep away from it.
func refuse(e *policy.Error, headers ...*corev3.HeaderValueOption) *extprocv3.ProcessingResponse {
	body := openai.NewError(e.Status, e.Code, e.Param, e.Message).JSON()
	headers = append(headers, setHeader("content-type", "application/json"))
	if e.Code == openai.CodeOverloaded {
		headers = append(headers, setHeader("retry-after", strconv.Itoa(retryAfter)))
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(e.Status)},
			Headers: &extprocv3.HeaderMutation{SetHeaders: headers},
			Body:    body,
			Details: "shunt_" + e.Code,
		},
	}}
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// shedSession refuses at once: the first message is enough (SEC-4).
type shedSession struct{}

// retryAfter is how many seconds a shed caller is asked to wait.
const retryAfter = 1

func (shedSession) push(*extprocv3.ProcessingRequest) (bool, error) { return true, nil }

func (shedSession) answers() []*extprocv3.ProcessingResponse {
	return []*extprocv3.ProcessingResponse{refuse(errShed)}
}
