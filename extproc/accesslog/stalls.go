package accesslog

import (
	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// An answer that falls silent on the way through the internal listener is ended by
// that listener's route, and to the connection manager in front this looks like a
// provider that broke off. So the listener reports its idle timeouts itself, always
// before the attempt and the request that they are part of.

// stallWindow is how many requests are remembered between these reports, which come
// within one flush of each other.
const stallWindow = 4096

// stalled reports whether e is the internal listener's: an answer fell silent.
func stalled(e *logv3.HTTPAccessLogEntry) bool {
	return e.GetCommonProperties().GetAccessLogType() == logv3.AccessLogType_DownstreamEnd &&
		e.GetCommonProperties().GetRouteName() == names.TimedListener
}

// ended is the outcome of a request's attempt, given how it looked from in front.
func (s *Server) ended(id string, o billing.Outcome) billing.Outcome {
	return knowing(s.stalls, id, o)
}

// knowing is the same by what has stalled.
func knowing(stalls *billing.Window, id string, o billing.Outcome) billing.Outcome {
	if o == billing.OutcomeReset && id != "" && stalls.Has(id) {
		return billing.OutcomeTimeout
	}
	return o
}
