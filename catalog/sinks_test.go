package catalog

import (
	"strings"
	"testing"
	"time"
)

// fullSinks are those of testdata/full.yaml.
func fullSinks() []Sink {
	pem := func(dir string) ClientTLS {
		return ClientTLS{CA: "/etc/shunt/" + dir + "/ca.pem", Cert: "/etc/shunt/" + dir + "/cert.pem", Key: "/etc/shunt/" + dir + "/key.pem"}
	}
	kafka := pem("kafka")
	return []Sink{
		{File: "/etc/shunt/events.jsonl"},
		{File: "/var/log/shunt/events.jsonl", Rotate: Rotation{Size: 256 << 20, Daily: true}, Fsync: FsyncAlways},
		{NATS: &NATSSink{
			Servers: []string{"nats://nats.example:4222"}, Subject: "billing.usage", Ack: AckServer,
			Token: newSecret("${BILLING_NATS_TOKEN}", ""), TLS: pem("nats"),
		}},
		{NATS: &NATSSink{Servers: []string{"tls://nats.example"}, Subject: "billing.usage", Credentials: "/run/secrets/billing.creds"}},
		{Kafka: &KafkaSink{
			Brokers: []string{"k1.kafka.example:9092", "k2.kafka.example:9092"}, Topic: "billing.usage", TLS: &kafka,
			SASL: &SASL{Mechanism: SASLScramSHA512, User: "shunt", Password: newSecret("", "/run/secrets/kafka")},
		}},
		{HTTP: &HTTPSink{
			URL: "https://openmeter.example/api/v1/events", Batch: 100, Timeout: 5 * time.Second, Anonymous: "nobody",
			Headers: []SecretHeader{{"authorization", newSecret("Bearer ${OPENMETER_TOKEN}", "")}}, TLS: pem("http"),
		}},
	}
}

func TestSinkPlaces(t *testing.T) {
	var got []string
	for _, s := range fullSinks() {
		got = append(got, s.Place())
	}
	equal(t, "places", got, []string{
		"/etc/shunt/events.jsonl", "/var/log/shunt/events.jsonl",
		"nats nats://nats.example:4222 billing.usage", "nats tls://nats.example billing.usage",
		"kafka k1.kafka.example:9092,k2.kafka.example:9092 billing.usage", "https://openmeter.example/api/v1/events",
	})
}

func TestSinkDefaults(t *testing.T) {
	c := parse(t, complete(`billing: {sinks: [{http: {url: "http://127.0.0.1:8888/api/v1/events"}}, {file: {path: a.jsonl}}, {kafka: {brokers: ["127.0.0.1:9092"], topic: t, tls: {}}}]}`+"\n"))
	equal(t, "http", *c.Billing.Sinks[0].HTTP, HTTPSink{URL: "http://127.0.0.1:8888/api/v1/events", Batch: 1, Timeout: 10 * time.Second})
	equal(t, "file", c.Billing.Sinks[1], Sink{File: "/etc/shunt/a.jsonl"})
	equal(t, "kafka", *c.Billing.Sinks[2].Kafka, KafkaSink{Brokers: []string{"127.0.0.1:9092"}, Topic: "t", TLS: &ClientTLS{}})
}

// The most specific markup wins: the model's, then the provider's, then
// billing.markup.
func TestMarkupFor(t *testing.T) {
	c := parse(t, `
providers: {a: {endpoint: "https://a.example", markup: 3%}, b: {endpoint: "https://b.example"}}
models:
  plain: {offers: [{provider: a, model: m}, {provider: b, model: m}]}
  own: {markup: 0%, offers: [{provider: a, model: m}, {provider: b, model: m}]}
billing: {markup: 10%}
`)
	var got []string
	for _, o := range c.Offers() {
		got = append(got, c.Billing.MarkupFor(o).String())
	}
	equal(t, "markups", strings.Join(got, " "), "0.03 0.1 0 0")
}

func TestPriceAt(t *testing.T) {
	c := parse(t, complete(`models: {kimi: {price: {prompt: 1, completion: 2, request: 7, tiers: [{above: 10, prompt: 3, completion: 4, cache_read: 0}, {above: 20, prompt: 5, completion: 6}]},
  offers: [{provider: novita, model: m}]}}`+"\n"))
	p := c.Models[0].Price
	for tokens, want := range map[int64]string{0: "1 2 7", 10: "1 2 7", 11: "3 4 7", 20: "3 4 7", 21: "5 6 7", 1e9: "5 6 7"} {
		at := p.At(tokens)
		if got := at.Prompt.String() + " " + at.Completion.String() + " " + at.Request.String(); got != want || at.Tiers != nil {
			t.Errorf("at %d tokens: %s, want %s", tokens, got, want)
		}
	}
	equal(t, "a cache price of one tier is not the next one's", [...]bool{p.At(11).CacheRead.Valid, p.At(21).CacheRead.Valid}, [...]bool{true, false})
}
