package envoy

import (
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// apiError is one answer that Envoy makes itself, in the API's shape (API-6).
type apiError struct {
	when    string // CEL over response.code, response.code_details, response.flags
	status  uint32
	kind    string // error.type
	code    string
	message string
	headers []*corev3.HeaderValueOption
}

// details matches Envoy's reason for a local reply.
func details(prefix string) string {
	return fmt.Sprintf("response.code_details.startsWith(%q)", prefix)
}

// localErrors lists Envoy's own answers from the particular to the general; the
// first that matches is used. Answers that shunt made are already in the right
// shape and match none: their details begin with "shunt_".
func localErrors(c *catalog.Catalog) []apiError {
	retrySoon := []*corev3.HeaderValueOption{overwrite("retry-after", "1")}
	return []apiError{
		{when: details("request_payload_too_large"), status: 413, kind: "invalid_request_error", code: "request_too_large",
			message: fmt.Sprintf("the request body is larger than the %d bytes that are accepted here", c.Limits.Body)},
		// The client's headers and those of shunt's own are more than Envoy carries on.
		{when: details("header_mutation_result_exceeds_limit"), status: 431, kind: "invalid_request_error", code: "headers_too_large",
			message: "the request headers are too large"},
		{when: details("ext_proc"), status: 503, kind: "server_error", code: "overloaded",
			message: "the routing service did not answer; try again", headers: retrySoon},
		{when: details("jwt_authn"), status: 401, kind: "authentication_error", code: "invalid_token",
			message: "the token in the authorization header is not valid or has expired"},
		{when: `xds.route_name == "` + routeAPI + `" && response.code >= 500`, status: 503, kind: "server_error", code: "overloaded",
			message: "the routing service did not answer; try again", headers: retrySoon},
		{when: "response.code == 431", status: 431, kind: "invalid_request_error", code: "headers_too_large",
			message: "the request headers are too large"},
		{when: "response.code == 404", status: 404, kind: "invalid_request_error", code: "not_found", message: "no such endpoint"},
		{when: "response.code == 408", status: 408, kind: "invalid_request_error", code: "request_timeout",
			message: "the request was not complete in time"},
		{when: "response.code == 413", status: 413, kind: "invalid_request_error", code: "request_too_large",
			message: fmt.Sprintf("the request body is larger than the %d bytes that are accepted here", c.Limits.Body)},
		{when: "response.code >= 500 && " + details("overload"), status: 503, kind: "server_error", code: "overloaded",
			message: "this gateway is overloaded; try again", headers: retrySoon},
		{when: "response.code == 501", status: 400, kind: "invalid_request_error", code: "bad_request",
			message: "the request has a transfer encoding that is not known here"},
		{when: "response.code >= 500", status: 502, kind: "server_error", code: "all_providers_failed",
			message: "no provider answered"},
		{when: details("upgrade_failed"), status: 400, kind: "invalid_request_error", code: "bad_request",
			message: "the connection cannot be upgraded to another protocol"},
		{when: "response.code == 426", status: 426, kind: "invalid_request_error", code: "bad_request",
			message: "the request must be HTTP/1.1 or HTTP/2"},
		{when: "response.code >= 400", status: 0, kind: "invalid_request_error", code: "bad_request",
			message: "the request could not be read"},
	}
}

// ours are local replies whose body is already an API error: shunt's immediate
// answers and the routes' direct responses.
const ours = `(response.code_details.startsWith("shunt_") || response.code_details == "direct_response")`

func localReplies(c *catalog.Catalog) *hcmv3.LocalReplyConfig {
	out := &hcmv3.LocalReplyConfig{}
	for _, e := range localErrors(c) {
		out.Mappers = append(out.Mappers, e.mapper())
	}
	return out
}

func (e apiError) mapper() *hcmv3.ResponseMapper {
	m := &hcmv3.ResponseMapper{
		Filter:             celFilter("!" + ours + " && " + e.when),
		BodyFormatOverride: jsonFormat(e),
		// FALL-4, also where no filter has seen the answer. Where there is a request, its
		// own id takes the place of the one made here.
		HeadersToAdd: append([]*corev3.HeaderValueOption{
			overwrite(names.HeaderAttempts, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
			overwrite(names.HeaderRequestID, "%UNIQUE_ID%"),
		}, e.headers...),
	}
	if e.status != 0 {
		m.StatusCode = wrapperspb.UInt32(e.status)
	}
	return m
}

func celFilter(expression string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "envoy.access_loggers.extension_filters.cel",
			ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{
				TypedConfig: pack(&celv3.ExpressionFilter{Expression: expression}),
			},
		},
	}}
}

func jsonFormat(e apiError) *corev3.SubstitutionFormatString {
	field := structpb.NewStringValue
	return &corev3.SubstitutionFormatString{
		ContentType: "application/json",
		Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: map[string]*structpb.Value{
			"error": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
				"message": field(e.message), "type": field(e.kind),
				"param": structpb.NewNullValue(), "code": field(e.code),
			}}),
		}}},
	}
}
