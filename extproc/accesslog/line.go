package accesslog

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/tidwall/gjson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/shunt-gateway/shunt/envoy/names"
)

// longestID is what a request id may be long. Envoy makes 36 bytes.
const longestID = 255

// errLine is a line of the journal that no Envoy of ours wrote, or that is torn.
var errLine = errors.New("not a line of the journal")

// line is one of the journal. Its fields other than kind and id are read when
// somebody wants them, which is seldom.
type line struct {
	kind, id string
	text     []byte // JSON; shared with whatever was read
}

// readLine reads a line. Of one that is torn and has a whole one behind it, as an
// Envoy leaves that was killed in a write, the whole one is taken.
func readLine(b []byte) (line, error) {
	b = bytes.Trim(b, "\x00 \r")
	for tries := 0; tries < 4; tries++ {
		if l, ok := wholeLine(b); ok {
			return l, nil
		}
		next := bytes.Index(b[min(1, len(b)):], opening)
		if next < 0 {
			break
		}
		b = b[next+1:]
	}
	return line{}, errLine
}

// endID finds the request of what looks like a whole line of kind end, without reading
// it. What is in a string of such a line has its quotes escaped, so nothing in it looks
// like a key.
func endID(b []byte) (id string, ok bool) {
	if len(b) == 0 || b[0] != '{' || b[len(b)-1] != '}' || bytes.Count(b, opening) != 1 || !bytes.Contains(b, isEnd) {
		return "", false
	}
	_, rest, ok := bytes.Cut(b, isID)
	i := bytes.IndexByte(rest, '"')
	if !ok || i <= 0 || i > longestID {
		return "", false
	}
	return string(rest[:i]), true
}

var (
	opening = []byte(`{"`)
	isEnd   = []byte(`"` + names.LineKind + `":"` + names.LineEnd + `"`)
	isID    = []byte(`"` + names.LineID + `":"`)
)

func wholeLine(b []byte) (l line, ok bool) {
	if len(b) == 0 || b[0] != '{' || !gjson.ValidBytes(b) {
		return l, false
	}
	kind, id := gjson.GetBytes(b, names.LineKind), gjson.GetBytes(b, names.LineID)
	if kind.Type != gjson.String || id.Type != gjson.String || id.Str == "" || len(id.Str) > longestID {
		return l, false
	}
	switch kind.Str {
	case names.LineEnd, names.LineAttempt, names.LineGone, names.LineSilent:
		return line{kind.Str, id.Str, b}, true
	}
	return l, false
}

// entry is what Envoy reports over gRPC, made from a line: so both are read by the
// same code.
func (l *line) entry() *logv3.HTTPAccessLogEntry {
	c := &logv3.AccessLogCommon{Metadata: &corev3.Metadata{}, ResponseFlags: &logv3.ResponseFlags{}}
	resp := &logv3.HTTPResponseProperties{ResponseHeaders: map[string]string{}}
	e := &logv3.HTTPAccessLogEntry{
		CommonProperties: c, Response: resp, Request: &logv3.HTTPRequestProperties{RequestId: l.id},
	}
	mine := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	gjson.ParseBytes(l.text).ForEach(func(key, v gjson.Result) bool {
		switch k := key.Str; k {
		case names.LineStart:
			c.StartTime = seconds(v.Str)
		case names.LineMicros:
			c.Duration = span(v, time.Microsecond)
		case names.LineMillis:
			if c.Duration == nil {
				c.Duration = span(v, time.Millisecond)
			}
		case names.LineFirst:
			c.TimeToFirstUpstreamRxByte = span(v, time.Microsecond)
		case names.LineCode:
			resp.ResponseCode = wrapperspb.UInt32(uint32(whole64(v, math.MaxUint32)))
		case names.LineSent:
			resp.ResponseBodyBytes = uint64(whole64(v, math.MaxInt64))
		case names.LineAttempts:
			c.UpstreamRequestAttemptCount = uint32(whole64(v, math.MaxUint32))
		case names.LineCluster:
			c.UpstreamCluster = strings.TrimPrefix(v.Str, "-")
		case names.LineFlags:
			setFlags(c.ResponseFlags, v.Str)
		case names.LineDetails:
			resp.ResponseCodeDetails = v.Str
		case names.LineProvider:
			resp.ResponseHeaders[names.HeaderProvider] = v.Str
		case names.LineOutcome:
			resp.ResponseHeaders[names.HeaderOutcome] = v.Str
		case names.LineRetryAfter, names.LineRetryAfterMillis:
			resp.ResponseHeaders[k] = v.Str
		case names.LineStreamError, names.LineNoFinish, names.LineUsageOld:
			mine.Fields[k] = structpb.NewBoolValue(v.Bool())
		case names.LineUsage:
			mine.Fields[k] = structpb.NewStringValue(v.Str)
		}
		return true
	})
	c.Metadata.FilterMetadata = map[string]*structpb.Struct{names.Namespace: mine}
	return e
}

// seconds reads seconds since 1970 with a fraction; nil for what is none.
func seconds(s string) *timestamppb.Timestamp {
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	nanos, ferr := strconv.ParseInt((fraction + "000000000")[:9], 10, 32)
	if err != nil || ferr != nil || nanos < 0 {
		return nil
	}
	return &timestamppb.Timestamp{Seconds: sec, Nanos: int32(nanos)}
}

// span is a number of units.
func span(v gjson.Result, unit time.Duration) *durationpb.Duration {
	return durationpb.New(time.Duration(whole64(v, int64(longestRequest/unit))) * unit)
}

// whole64 is a number's whole part, from 0 to most; 0 for what is no number.
func whole64(v gjson.Result, most int64) int64 {
	if v.Type != gjson.Number || !(v.Num > 0) {
		return 0
	}
	if v.Num >= float64(most) {
		return most
	}
	return v.Int()
}

// setFlags sets what Envoy's short names of response flags stand for. Those that
// nobody reads are passed over.
func setFlags(f *logv3.ResponseFlags, short string) {
	for name := range strings.SplitSeq(short, ",") {
		switch name {
		case "LH":
			f.FailedLocalHealthcheck = true
		case "UH":
			f.NoHealthyUpstream = true
		case "UT":
			f.UpstreamRequestTimeout = true
		case "LR":
			f.LocalReset = true
		case "UR":
			f.UpstreamRemoteReset = true
		case "UF":
			f.UpstreamConnectionFailure = true
		case "UC":
			f.UpstreamConnectionTermination = true
		case "UO":
			f.UpstreamOverflow = true
		case "SI":
			f.StreamIdleTimeout = true
		case "DPE":
			f.DownstreamProtocolError = true
		case "UPE":
			f.UpstreamProtocolError = true
		case "UMSDR":
			f.UpstreamMaxStreamDurationReached = true
		case "DT":
			f.DurationTimeout = true
		case "OM":
			f.OverloadManager = true
		case "DF":
			f.DnsResolutionFailure = true
		case "NC":
			f.NoClusterFound = true
		case "DC":
			f.DownstreamConnectionTermination = true
		case "DR":
			f.DownstreamRemoteReset = true
		}
	}
}
