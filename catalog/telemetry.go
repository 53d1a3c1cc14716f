package catalog

import "time"

// Telemetry says what is told of shunt's work beside /metrics, and bounds it.
type Telemetry struct {
	// Series is how many series one metric may have; what is beyond is counted in
	// one more. Default 2,000.
	Series int
	OTLP   *OTLP // nil: nothing is sent anywhere
}

// OTLP is a collector that metrics and traces are sent to.
type OTLP struct {
	Protocol OTLPProtocol // default OTLPGRPC
	// Endpoint is the collector. Its Path is empty with OTLPGRPC; with OTLPHTTP
	// /v1/metrics and /v1/traces are appended to it.
	Endpoint Endpoint
	Headers  []SecretHeader
	Timeout  time.Duration // of one request. Default 10s.
	TLS      ClientTLS

	Metrics  bool          // default true
	Interval time.Duration // between two reports of metrics. Default 60s.
	Traces   bool          // default true
	Sample   float64       // of requests whose client says nothing about it; 0 to 1, default 1
}

// OTLPProtocol is how a collector is spoken to.
type OTLPProtocol uint8

// The values of protocol.
const (
	OTLPGRPC OTLPProtocol = iota
	OTLPHTTP              // protobuf over HTTP
)

const (
	defaultSeries    = 2000
	mostSeries       = 1_000_000
	grpcPort         = 4317
	httpPort         = 4318
	leastOTLPReports = time.Second
)

func defaultTelemetry() Telemetry { return Telemetry{Series: defaultSeries} }

var (
	telemetryKeys = newKeys("series", "otlp")
	otlpKeys      = newKeys("endpoint!", "protocol", "headers", "timeout", "tls", "metrics", "interval", "traces", "sample")

	protocolChoices = []choice[OTLPProtocol]{{"grpc", OTLPGRPC}, {"http", OTLPHTTP}}
)

func (d *decoder) telemetry(v value) {
	t := &d.cat.Telemetry
	d.object(v, telemetryKeys, func(key string, v value) {
		switch key {
		case "series":
			set(&t.Series)(d.whole(v, mostSeries))
		case "otlp":
			t.OTLP = d.otlp(v)
		}
	})
}

func (d *decoder) otlp(v value) *OTLP {
	o := &OTLP{Timeout: 10 * time.Second, Metrics: true, Interval: time.Minute, Traces: true, Sample: 1}
	at := make(map[string]value)
	d.object(v, otlpKeys, func(key string, v value) {
		at[key] = v
		switch key {
		case "protocol":
			set(&o.Protocol)(choose(d, v, protocolChoices))
		case "headers":
			o.Headers = d.secretHeaders(v)
		case "timeout":
			set(&o.Timeout)(d.duration(v, longest))
		case "tls":
			d.clientTLS(v, &o.TLS)
		case "metrics":
			o.Metrics = d.boolean(v)
		case "interval":
			set(&o.Interval)(d.reportInterval(v))
		case "traces":
			o.Traces = d.boolean(v)
		case "sample":
			set(&o.Sample)(d.share(v))
		}
	})
	if e, ok := at["endpoint"]; ok {
		set(&o.Endpoint)(d.collector(e, o.Protocol))
	}
	if t, ok := at["tls"]; ok && o.Endpoint.Scheme == "http" {
		d.faultKey(t, "", "is for an endpoint that begins with https://")
	}
	if !o.Metrics && !o.Traces {
		d.faultKey(v, "", "sends neither metrics nor traces: remove it, or one of the two")
	}
	return o
}

// collector reads the endpoint. Where it names no port, that is OTLP's own, or 443
// with https.
func (d *decoder) collector(v value, p OTLPProtocol) (Endpoint, bool) {
	e, ok := d.endpoint(v)
	if !ok {
		return Endpoint{}, false
	}
	if p == OTLPGRPC && e.Path != "" {
		d.fault(v, "must not have a path with protocol grpc: remove it, or set protocol: http")
		return Endpoint{}, false
	}
	if u, ok := d.link(v, "https", "http"); ok && u.Port() == "" && e.Scheme == "http" {
		e.Port = map[OTLPProtocol]uint16{OTLPGRPC: grpcPort, OTLPHTTP: httpPort}[p]
	}
	return e, true
}

func (d *decoder) reportInterval(v value) (time.Duration, bool) {
	t, ok := d.duration(v, longest)
	if ok && t < leastOTLPReports {
		d.fault(v, "%s is less than 1s", quote(v.Value))
		return 0, false
	}
	return t, ok
}
