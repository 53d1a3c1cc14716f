package envoy

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// accessLog reports to shunt once per request (from the connection manager) and once
// per attempt that failed (from the router). Both use the same settings, so Envoy
// writes both to one stream.
func accessLog(filter *accesslogv3.AccessLogFilter) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{{
		Name:   "envoy.access_loggers.http_grpc",
		Filter: filter,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName:             names.LogName,
				GrpcService:         grpcService(),
				TransportApiVersion: corev3.ApiVersion_V3,
				BufferFlushInterval: duration(50 * time.Millisecond),
				BufferSizeBytes:     u32(64 << 10),
			},
			AdditionalResponseHeadersToLog: []string{"retry-after", "retry-after-ms", names.HeaderProvider, names.HeaderOutcome},
		})},
	}}
}

// heartbeats has a request that is under way reported again and again, so that one
// that streams for hours is known to be alive (BILL-1).
func heartbeats(c *catalog.Catalog) *hcmv3.HttpConnectionManager_HcmAccessLogOptions {
	every := c.Billing.Durability.Heartbeat()
	if every <= 0 {
		return nil
	}
	return &hcmv3.HttpConnectionManager_HcmAccessLogOptions{AccessLogFlushInterval: duration(every)}
}

// failed keeps attempts that did not end in a 2xx answer: the request's own
// entry tells of the last attempt, and a second entry for each request would cost as
// much as the first.
func failed() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{
		OrFilter: &accesslogv3.OrFilter{Filters: []*accesslogv3.AccessLogFilter{
			{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{StatusCodeFilter: &accesslogv3.StatusCodeFilter{
				Comparison: &accesslogv3.ComparisonFilter{
					Op:    accesslogv3.ComparisonFilter_GE,
					Value: &corev3.RuntimeUInt32{DefaultValue: 300, RuntimeKey: "shunt.log_attempts_from"},
				},
			}}},
			{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{}}},
		}},
	}}
}

// silent keeps what an idle timeout ended.
func silent() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
		ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"SI"}},
	}}
}

// quoted keeps requests that shunt admitted: those that carry a quote (BILL-1).
func quoted() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_MetadataFilter{
		MetadataFilter: &accesslogv3.MetadataFilter{
			Matcher: &matcherv3.MetadataMatcher{
				Filter: names.Namespace,
				Path: []*matcherv3.MetadataMatcher_PathSegment{{
					Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: names.KeyQuote},
				}},
				Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}},
			},
			MatchIfKeyNotFound: wrapperspb.Bool(false),
		},
	}}
}
