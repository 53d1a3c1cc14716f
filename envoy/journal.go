package envoy

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dataaccesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
)

// The journal holds what a settlement needs of Envoy and nothing else: no path, no
// header of the client's, no quote, which the log of admissions has. It is written
// beside the gRPC access log, whose entries are lost where nobody takes them
// (BILL-1).

// requestLog is the connection manager's: every end over gRPC, and in the journal.
func requestLog(c *catalog.Catalog, o Options) []*accesslogv3.AccessLog {
	log := accessLog(anyOf(quoted(), givenUp(c)))
	if o.Journal == "" {
		return log
	}
	return append(log,
		journal(o, both(atEnd(), quoted()), endLine()),
		journal(o, both(atEnd(), givenUp(c)), map[string]string{names.LineKind: names.LineGone, names.LineID: lineID}),
	)
}

// attemptLog is the router's.
func attemptLog(o Options) []*accesslogv3.AccessLog {
	log := accessLog(failed())
	if o.Journal == "" {
		return log
	}
	return append(log, journal(o, failed(), attemptLine()))
}

// stallLog is the internal listener's.
func stallLog(o Options) []*accesslogv3.AccessLog {
	log := accessLog(silent())
	if o.Journal == "" {
		return log
	}
	return append(log, journal(o, silent(), map[string]string{names.LineKind: names.LineSilent, names.LineID: lineID}))
}

func journal(o Options, filter *accesslogv3.AccessLogFilter, line map[string]string) *accesslogv3.AccessLog {
	fields := make(map[string]*structpb.Value, len(line))
	for key, text := range line {
		fields[key] = structpb.NewStringValue(text)
	}
	return &accesslogv3.AccessLog{
		Name:   "envoy.access_loggers.file",
		Filter: filter,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&filelogv3.FileAccessLog{
			Path: o.Journal,
			AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
				Format:          &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
				OmitEmptyValues: true,
			}},
		})},
	}
}

const lineID = "%REQ(X-REQUEST-ID)%"

// commonLine is what requests and attempts have in common.
func commonLine(kind, first string) map[string]string {
	return map[string]string{
		names.LineKind:     kind,
		names.LineID:       lineID,
		names.LineStart:    "%START_TIME(%s.%9f)%",
		names.LineMillis:   "%DURATION%",
		names.LineFirst:    "%COMMON_DURATION(DS_RX_BEG:" + first + ":us)%",
		names.LineCode:     "%RESPONSE_CODE%",
		names.LineCluster:  "%UPSTREAM_CLUSTER%",
		names.LineFlags:    "%RESPONSE_FLAGS%",
		names.LineDetails:  "%RESPONSE_CODE_DETAILS%",
		names.LineOutcome:  "%RESP(" + names.HeaderOutcome + ")%",
		names.LineProvider: "%RESP(" + names.HeaderProvider + ")%",
	}
}

func endLine() map[string]string {
	line := commonLine(names.LineEnd, "DS_TX_BEG")                       // the client's: headers wait for the first token
	line[names.LineMicros] = "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%" // not there where the client left
	line[names.LineSent] = "%BYTES_SENT%"
	line[names.LineAttempts] = "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"
	for _, key := range []string{names.LineStreamError, names.LineNoFinish, names.LineUsage, names.LineUsageOld} {
		line[key] = "%DYNAMIC_METADATA(" + names.Namespace + ":" + key + ")%"
	}
	return line
}

func attemptLine() map[string]string {
	line := commonLine(names.LineAttempt, "US_RX_BEG")
	line[names.LineRetryAfter] = "%RESP(retry-after)%"
	line[names.LineRetryAfterMillis] = "%RESP(retry-after-ms)%"
	return line
}

// givenUp keeps what Envoy ended without having heard that it is admitted: shunt was
// slow or away, or the client left first. It may have been admitted all the same, and
// then this is what takes it back (BILL-1). Where Envoy goes on without shunt, such a
// request can end in any way.
func givenUp(c *catalog.Catalog) *accesslogv3.AccessLogFilter {
	if c.Routing.OnFilterFailure == catalog.FilterFailureAllow {
		return both(unquoted(), &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
			HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
				Name: ":method",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
					MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "POST"},
				}},
			}},
		}})
	}
	return both(unquoted(), anyOf(
		statusIs(accesslogv3.ComparisonFilter_GE, 500, "shunt.log_unquoted_from"),
		statusIs(accesslogv3.ComparisonFilter_EQ, 0, "shunt.log_unquoted_unanswered"),
	))
}

// unquoted keeps requests that carry no quote. No quote is empty.
func unquoted() *accesslogv3.AccessLogFilter {
	f := quoted()
	m := f.GetMetadataFilter()
	m.Matcher.Value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: ""}},
	}}
	m.MatchIfKeyNotFound = wrapperspb.Bool(true)
	return f
}

// atEnd leaves heartbeats out.
func atEnd() *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_LogTypeFilter{
		LogTypeFilter: &accesslogv3.LogTypeFilter{Types: []dataaccesslogv3.AccessLogType{dataaccesslogv3.AccessLogType_DownstreamEnd}},
	}}
}

func statusIs(op accesslogv3.ComparisonFilter_Op, status uint32, key string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op: op, Value: &corev3.RuntimeUInt32{DefaultValue: status, RuntimeKey: key},
		}},
	}}
}

func both(a, b *accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
		AndFilter: &accesslogv3.AndFilter{Filters: []*accesslogv3.AccessLogFilter{a, b}},
	}}
}

func anyOf(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{
		OrFilter: &accesslogv3.OrFilter{Filters: filters},
	}}
}
