package telemetry

import (
	"strconv"

	"go.opentelemetry.io/otel/attribute"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Names of the GenAI semantic conventions (gen-ai-metrics.md, status development).
// gen_ai.request.model is the catalog's id of the model that the client asked for;
// gen_ai.response.model is the provider's own name of the one that answered.
const (
	operationName = attribute.Key("gen_ai.operation.name")
	providerName  = attribute.Key("gen_ai.provider.name")
	requestModel  = attribute.Key("gen_ai.request.model")
	responseModel = attribute.Key("gen_ai.response.model")
	tokenType     = attribute.Key("gen_ai.token.type")
	errorType     = attribute.Key("error.type")
	serverAddress = attribute.Key("server.address")
	serverPort    = attribute.Key("server.port")

	metricTokens    = "gen_ai.client.token.usage"
	metricDuration  = "gen_ai.client.operation.duration"
	metricFirst     = "gen_ai.client.operation.time_to_first_chunk"
	unitTokens      = "{token}"
	unitSeconds     = "s"
	operationChat   = "chat"
	operationText   = "text_completion"
	errorCancelled  = "cancelled"
	errorInAnswer   = "error_answer"
	errorUnlabelled = "_OTHER"
)

// The bucket boundaries that the conventions ask for.
var (
	tokenBuckets = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	timeBuckets  = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
)

// operationOf: the conventions know a chat and a text completion. A request for the
// responses API is a chat too.
func operationOf(a catalog.API) string {
	if a == catalog.Completions {
		return operationText
	}
	return operationChat
}

// errorOf is the class of an attempt's end; "" for one that was no error.
func errorOf(o billing.Outcome, status int64) string {
	switch o {
	case billing.OutcomeOK:
		return ""
	case billing.OutcomeStatus:
		return statusText(status)
	case billing.OutcomeTimeout, billing.OutcomeReset, billing.OutcomeConnectFailure:
		return string(o)
	}
	return errorUnlabelled
}

// statusText is a status if it is a usual one, else its class: a provider may answer
// any number there is.
func statusText(status int64) string {
	switch status {
	case 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529:
		return strconv.FormatInt(status, 10)
	}
	if status >= 100 && status <= 599 {
		return strconv.FormatInt(status/100, 10) + "xx"
	}
	return errorUnlabelled
}
