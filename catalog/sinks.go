package catalog

import (
	"strconv"
	"strings"
	"time"
)

// Sink receives billing events. One of File, NATS, Kafka and HTTP is set.
type Sink struct {
	File   string // absolute path; one CloudEvent a line
	Rotate Rotation
	Fsync  Fsync

	NATS  *NATSSink
	Kafka *KafkaSink
	HTTP  *HTTPSink
}

// Rotation says when a file sink begins a new file. The zero Rotation: never.
type Rotation struct {
	Size  int64 // bytes that a file has at most, give or take one batch; 0: any number
	Daily bool  // a new file for each day (UTC)
}

// NATSSink publishes each event as one message.
type NATSSink struct {
	Servers     []string // nats:// or tls:// URLs, at least one
	Subject     string
	Ack         NATSAck
	Credentials string // absolute path of a NATS credentials file; "": none
	Token       Secret // the zero Secret: none
	TLS         ClientTLS
}

// KafkaSink produces each event as one record, its key the event's subject.
type KafkaSink struct {
	Brokers []string // host:port, at least one
	Topic   string
	TLS     *ClientTLS // nil: no TLS
	SASL    *SASL      // nil: no authentication
}

// SASL is how a Kafka client says who it is.
type SASL struct {
	Mechanism SASLMechanism
	User      string
	Password  Secret
}

// HTTPSink posts events to a CloudEvents receiver.
type HTTPSink struct {
	URL     string // http or https
	Batch   int    // events of one request at most; 1: application/cloudevents+json. Default 1.
	Headers []SecretHeader
	Timeout time.Duration // of one request. Default 10s.
	// Anonymous is the subject given to events of callers that nobody knows, for
	// receivers that ask for one; "": they are sent without.
	Anonymous string
	TLS       ClientTLS
}

// SecretHeader is a request header whose value may be a secret.
type SecretHeader struct {
	Name  string // lower case
	Value Secret
}

// ClientTLS holds absolute paths of PEM files; "": none. Cert and Key come
// together.
type ClientTLS struct {
	CA   string // whom to believe, in place of the system's authorities
	Cert string // who this client is
	Key  string
}

// Fsync says when a file sink's lines are flushed to the disk.
type Fsync uint8

// The values of fsync.
const (
	FsyncInterval Fsync = iota // within a second of being written. The default.
	FsyncAlways                // before an event counts as delivered
	FsyncNever                 // when the file is closed
)

// NATSAck says who has to have an event for it to count as delivered.
type NATSAck uint8

// The values of ack.
const (
	AckStream NATSAck = iota // a JetStream stream, which drops an id that it knows. The default.
	AckServer                // the server; whether anybody listens is not known
)

// SASLMechanism is one of Kafka's.
type SASLMechanism uint8

// The mechanisms.
const (
	SASLPlain SASLMechanism = iota
	SASLScramSHA256
	SASLScramSHA512
)

// Place says where the events go, for people. A URL's query is not shown: there may
// be a key in it.
func (s *Sink) Place() string {
	switch {
	case s.NATS != nil:
		return "nats " + strings.Join(s.NATS.Servers, ",") + " " + s.NATS.Subject
	case s.Kafka != nil:
		return "kafka " + strings.Join(s.Kafka.Brokers, ",") + " " + s.Kafka.Topic
	case s.HTTP != nil:
		base, _, _ := strings.Cut(s.HTTP.URL, "?")
		return base
	}
	return s.File
}

var (
	sinkKeys     = newKeys("file", "nats", "kafka", "http")
	fileSinkKeys = newKeys("path!", "rotate", "fsync")
	rotateKeys   = newKeys("size", "every")
	natsSinkKeys = newKeys("url!", "subject!", "ack", "credentials", "token", "tls")
	kafkaKeys    = newKeys("brokers!", "topic!", "tls", "sasl")
	saslKeys     = newKeys("mechanism!", "user!", "password!")
	httpSinkKeys = newKeys("url!", "batch", "headers", "timeout", "anonymous", "tls")
	tlsKeys      = newKeys("ca", "cert", "key")

	fsyncChoices = []choice[Fsync]{{"never", FsyncNever}, {"interval", FsyncInterval}, {"always", FsyncAlways}}
	everyChoices = []choice[bool]{{"day", true}}
	ackChoices   = []choice[NATSAck]{{"stream", AckStream}, {"server", AckServer}}
	saslChoices  = []choice[SASLMechanism]{
		{"plain", SASLPlain}, {"scram-sha-256", SASLScramSHA256}, {"scram-sha-512", SASLScramSHA512},
	}
)

func (d *decoder) sinks(v value) {
	list := []Sink{} // not nil: none
	seen := make(map[string]bool)
	d.items(v, func(v value) {
		s, ok := d.sink(v)
		place := s.Place()
		if s.HTTP != nil {
			place = s.HTTP.URL
		}
		switch {
		case !ok:
		case seen[place]:
			d.fault(v, "is in this list twice")
		default:
			seen[place] = true
			list = append(list, s)
		}
	})
	d.cat.Billing.Sinks = list
}

func (d *decoder) sink(v value) (Sink, bool) {
	var s Sink
	kinds, good := 0, false
	if !d.object(v, sinkKeys, func(key string, v value) {
		kinds++
		switch key {
		case "file":
			good = d.fileSink(v, &s)
		case "nats":
			s.NATS, good = d.natsSink(v)
		case "kafka":
			s.Kafka, good = d.kafkaSink(v)
		case "http":
			s.HTTP, good = d.httpSink(v)
		}
	}) {
		return Sink{}, false
	}
	if kinds != 1 {
		d.fault(v, "must have exactly one of %s: a sink is one place", strings.Join(sinkKeys.names, ", "))
		return Sink{}, false
	}
	return s, good
}

// fileSink takes a path alone, too.
func (d *decoder) fileSink(v value, s *Sink) bool {
	if d.isShort(v) {
		set(&s.File)(d.filename(v))
		return s.File != ""
	}
	d.object(v, fileSinkKeys, func(key string, v value) {
		switch key {
		case "path":
			set(&s.File)(d.filename(v))
		case "rotate":
			d.object(v, rotateKeys, func(key string, v value) {
				if key == "size" {
					set(&s.Rotate.Size)(d.rotationSize(v))
				} else {
					set(&s.Rotate.Daily)(choose(d, v, everyChoices))
				}
			})
		case "fsync":
			set(&s.Fsync)(choose(d, v, fsyncChoices))
		}
	})
	return s.File != ""
}

const (
	leastRotation = 1 << 20
	mostRotation  = 1 << 40
)

func (d *decoder) rotationSize(v value) (int64, bool) {
	n, ok := d.size(v, mostRotation)
	if ok && n < leastRotation {
		d.fault(v, "%s is less than 1MiB", quote(v.Value))
		return 0, false
	}
	return n, ok
}

func (d *decoder) natsSink(v value) (*NATSSink, bool) {
	s := &NATSSink{}
	d.object(v, natsSinkKeys, func(key string, v value) {
		switch key {
		case "url":
			s.Servers = d.natsURLs(v, "must be a URL such as nats://nats.example:4222, with nothing behind the port")
		case "subject":
			set(&s.Subject)(d.natsSubject(v))
		case "ack":
			set(&s.Ack)(choose(d, v, ackChoices))
		case "credentials":
			set(&s.Credentials)(d.filename(v))
		case "token":
			set(&s.Token)(d.secret(v))
		case "tls":
			d.clientTLS(v, &s.TLS)
		}
	})
	if s.Credentials != "" && !s.Token.IsZero() {
		d.fault(v, "must have one of credentials and token, or neither")
	}
	return s, len(s.Servers) > 0 && s.Subject != ""
}

// natsURLs reads the URLs of servers, with commas between them; nil after a fault,
// which shape words where something stands behind a port. No fault shows a URL: there
// may be a password in it.
func (d *decoder) natsURLs(v value, shape string) []string {
	if _, ok := d.text(v); !ok {
		return nil
	}
	var urls []string
	for part := range strings.SplitSeq(v.Value, ",") {
		node := *v.Node
		node.Value = strings.TrimSpace(part)
		one := v
		one.Node = &node
		u, ok := d.link(one, "nats", "tls")
		if !ok {
			return nil
		}
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(node.Value, "#") {
			d.fault(v, "%s", shape)
			return nil
		}
		if _, _, ok := d.host(one, u); !ok {
			return nil
		}
		urls = append(urls, strings.TrimSuffix(node.Value, "/"))
	}
	return urls
}

// natsSubject reads what one can publish to: no wildcards, no empty tokens.
func (d *decoder) natsSubject(v value) (string, bool) {
	s, ok := d.name(v)
	if !ok {
		return "", false
	}
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t") {
			d.fault(v, "%s is not a subject to publish to, such as billing.usage: no wildcards, spaces or empty parts", quote(s))
			return "", false
		}
	}
	if strings.HasPrefix(s, "$") {
		d.fault(v, "%s is one of NATS's own subjects", quote(s))
		return "", false
	}
	return s, true
}

func (d *decoder) kafkaSink(v value) (*KafkaSink, bool) {
	s := &KafkaSink{}
	d.object(v, kafkaKeys, func(key string, v value) {
		switch key {
		case "brokers":
			s.Brokers = distinct(d, v, d.broker)
			if len(v.Content) == 0 && v.Kind == sequence {
				d.fault(v, "must not be empty")
			}
		case "topic":
			set(&s.Topic)(d.topic(v))
		case "tls":
			s.TLS = &ClientTLS{}
			d.clientTLS(v, s.TLS)
		case "sasl":
			s.SASL = d.sasl(v)
		}
	})
	return s, len(s.Brokers) > 0 && s.Topic != ""
}

func (d *decoder) broker(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	host, port, found := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !found || err != nil || n == 0 || !isDigits(port) || !isHostName(strings.ToLower(host)) && !isIPv4(host) {
		d.fault(v, "%s is not a broker such as kafka.example:9092", quote(s))
		return "", false
	}
	return s, true
}

func (d *decoder) topic(v value) (string, bool) {
	s, ok := d.text(v)
	if !ok {
		return "", false
	}
	if s == "" || len(s) > 249 || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return !isKeyRune(r) }) {
		d.fault(v, "%s is not a topic: letters, digits, '.', '_' and '-', at most 249 of them", quote(s))
		return "", false
	}
	return s, true
}

func (d *decoder) sasl(v value) *SASL {
	s := &SASL{}
	d.object(v, saslKeys, func(key string, v value) {
		switch key {
		case "mechanism":
			set(&s.Mechanism)(choose(d, v, saslChoices))
		case "user":
			set(&s.User)(d.name(v))
		case "password":
			set(&s.Password)(d.secret(v))
		}
	})
	return s
}
