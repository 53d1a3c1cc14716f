package envoy

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/envoy/names"
)

// accessLog reports to shunt once per attempt (from the router) and once per
// request (from the connection manager). Both use the same settings, so Envoy
// writes both to one stream and a request's attempts come before it.
func accessLog(filter *accesslogv3.AccessLogFilter) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{{
		Name:   "envoy.access_loggers.http_grpc",
		Filter: filter,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName:             names.LogName,
				GrpcService:         grpcService(names.ClusterExtProc, 0),
				TransportApiVersion: corev3.ApiVersion_V3,
				BufferFlushInterval: duration(50 * time.Millisecond),
				BufferSizeBytes:     u32(64 << 10),
			},
			AdditionalResponseHeadersToLog: []string{"retry-after", "retry-after-ms", names.HeaderProvider, names.HeaderOutcome},
		})},
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
