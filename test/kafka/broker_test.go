package kafka

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/shunt-gateway/shunt/test/certs"
	"github.com/shunt-gateway/shunt/test/harness"
)

// broker is a Kafka of one node with four listeners, whose files outlive a kill.
type broker struct {
	dir  string // its data and configuration
	jars string
	ca   *certs.Authority

	plain, tls, mutual, sasl string // host:port of each listener
	cmd                      *exec.Cmd
}

const (
	user, password = "shunt", "sekret"

	// clusterID is any UUID as Kafka writes them.
	clusterID = "4L6g3nShT-eMCtK--X86sw"
)

// newBroker formats a broker's directory and starts it.
func newBroker(t *testing.T, jars string) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), jars: jars, ca: certs.New(t)}
	b.plain, b.tls, b.mutual, b.sasl = harness.FreeAddr(t), harness.FreeAddr(t), harness.FreeAddr(t), harness.FreeAddr(t)
	b.configure(t)
	format := b.java(t, "kafka.tools.StorageTool", "format", "-t", clusterID, "-c", b.path("server.properties"),
		"--add-scram", "SCRAM-SHA-512=[name="+user+",password="+password+"]")
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	b.start(t)
	t.Cleanup(func() { b.kill(t) })
	return b
}

func (b *broker) path(name string) string { return filepath.Join(b.dir, name) }

func (b *broker) configure(t *testing.T) {
	t.Helper()
	pair := b.ca.Issue(t, "broker", "127.0.0.1")
	var store strings.Builder
	for _, f := range []string{pair.Key, pair.Cert} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		store.Write(text)
	}
	harness.WriteFile(t, b.path("broker.pem"), store.String())
	control := harness.FreeAddr(t)
	harness.WriteFile(t, b.path("server.properties"), strings.NewReplacer(
		"PLAIN_ADDR", b.plain, "TLS_ADDR", b.tls, "MUTUAL_ADDR", b.mutual, "SASL_ADDR", b.sasl, "CONTROL_ADDR", control,
		"DIR", b.dir, "CA", b.ca.File, "USER", user, "PASSWORD", password,
	).Replace(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@CONTROL_ADDR
listeners=CLEAR://PLAIN_ADDR,SECURE://TLS_ADDR,MUTUAL://MUTUAL_ADDR,LOGIN://SASL_ADDR,CONTROLLER://CONTROL_ADDR
advertised.listeners=CLEAR://PLAIN_ADDR,SECURE://TLS_ADDR,MUTUAL://MUTUAL_ADDR,LOGIN://SASL_ADDR
listener.security.protocol.map=CLEAR:PLAINTEXT,SECURE:SSL,MUTUAL:SSL,LOGIN:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLEAR
controller.listener.names=CONTROLLER
log.dirs=DIR/data
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
message.max.bytes=200000
ssl.keystore.type=PEM
ssl.keystore.location=DIR/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=CA
listener.name.mutual.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_USER="PASSWORD";
listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
`))
}

func (b *broker) java(t *testing.T, class string, args ...string) *exec.Cmd {
	t.Helper()
	flags := []string{"-Xmx256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(b.jars, "*"), class}
	return exec.Command("java", append(flags, args...)...)
}

// start starts the broker and waits until it answers.
func (b *broker) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(b.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	b.cmd = b.java(t, "kafka.Kafka", b.path("server.properties"))
	b.cmd.Stdout, b.cmd.Stderr = log, log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.plain))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	defer func() {
		if t.Failed() {
			text, _ := os.ReadFile(b.path("log"))
			t.Logf("the broker's log:\n%s", text)
		}
	}()
	harness.Eventually(t, "the broker answers", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return cl.Ping(ctx)
	})
}

// kill ends the broker at once.
func (b *broker) kill(t *testing.T) {
	t.Helper()
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait() // "signal: killed"
	b.cmd = nil
}

// records reads n records of a topic, and says if there are more.
func (b *broker) records(t *testing.T, topic string, n int) (list []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.plain), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// Behind the last of the test's own, each partition gets an end mark.
	marks := 0
	for p := range int32(partitions) {
		mark := &kgo.Record{Topic: topic, Partition: p, Value: []byte("end")}
		producer, err := kgo.NewClient(kgo.SeedBrokers(b.plain), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err != nil {
			t.Fatal(err)
		}
		err = producer.ProduceSync(ctx, mark).FirstErr()
		producer.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	for marks < partitions {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(list), n, err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) == "end" {
				marks++
			} else {
				list = append(list, r)
			}
		}
	}
	if len(list) != n {
		t.Errorf("%s has %d records, want %d", topic, len(list), n)
	}
	return list
}

const partitions = 3

func event(i int) (id string, body []byte) {
	id = fmt.Sprintf("id-%06d", i)
	return id, fmt.Appendf(nil, `{"specversion":"1.0","type":"shunt.usage.v1","id":%q,"source":"shunt/a","subject":"caller-%d","data":{"amount":"0.1"}}`, id, i%5)
}
