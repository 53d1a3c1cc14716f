package sinks

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/harness"
)

// natsServer starts a server; port 0: any free one.
func natsServer(t *testing.T, dir string, port int, change func(*server.Options)) *server.Server {
	t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true}
	if port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if change != nil {
		change(opts)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { stopNATS(s) })
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func natsClient(t *testing.T, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, append(opts, nats.Timeout(patience))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func addStream(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(bounded(t), jetstream.StreamConfig{Name: "USAGE", Subjects: []string{"billing.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func streamed(t *testing.T, s jetstream.Stream) (n uint64) {
	t.Helper()
	info, err := s.Info(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func TestNATSStream(t *testing.T) {
	srv := natsServer(t, t.TempDir(), 0, nil)
	_, js := natsClient(t, srv.ClientURL())
	stream := addStream(t, js)
	s, _ := open(t, configured(t, `nats: {url: "`+srv.ClientURL()+`", subject: billing.usage}`), nil)
	deliver(t, s, 0, 300)
	deliver(t, s, 100, 200) // again: the stream knows them
	if err := s.Deliver(bounded(t), message(7)); err != nil {
		t.Fatal(err)
	}
	if n := streamed(t, stream); n != 300 {
		t.Errorf("%d messages in the stream, want 300", n)
	}
	m, err := stream.GetMsg(bounded(t), 8)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != string(message(7).Body) || m.Subject != "billing.usage" ||
		m.Header.Get("Content-Type") != "" || m.Header.Get("content-type") != typeOne || m.Header.Get("Nats-Msg-Id") != "shunt/a/id-7" {
		t.Errorf("message %s %v %s", m.Subject, m.Header, m.Data)
	}
}

// No stream is there yet: events wait for it.
func TestNATSWaitsForItsStream(t *testing.T) {
	srv := natsServer(t, t.TempDir(), 0, nil)
	_, js := natsClient(t, srv.ClientURL())
	s, lines := open(t, configured(t, `nats: {url: "`+srv.ClientURL()+`", subject: billing.usage}`), nil)
	done := make(chan []error, 1)
	go func() { done <- s.DeliverAll(bounded(t), messages(0, 5)) }()
	eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "cannot deliver") })
	stream := addStream(t, js)
	if errs := <-done; errs != nil {
		t.Fatal(errs)
	}
	if n := streamed(t, stream); n != 5 {
		t.Errorf("%d messages", n)
	}
}

// The server is away for a while, also at the start: nothing is lost, nothing is
// there twice.
func TestNATSRestart(t *testing.T) {
	dir := t.TempDir()
	_, free, _ := strings.Cut(harness.FreeAddr(t), ":")
	port, err := strconv.Atoi(free)
	must(err)
	srv := natsServer(t, dir, port, nil)
	url := srv.ClientURL()
	nc, js := natsClient(t, url)
	addStream(t, js)
	nc.Close()
	stopNATS(srv)

	s, lines := open(t, configured(t, `nats: {url: "`+url+`", subject: billing.usage}`), nil)
	done := make(chan []error, 1)
	go func() { done <- s.DeliverAll(bounded(t), messages(0, 50)) }()
	eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "cannot deliver") })
	srv = natsServer(t, dir, port, nil) // on the port that it had
	if errs := <-done; errs != nil {
		t.Fatal(errs)
	}
	_, js = natsClient(t, srv.ClientURL())
	stream, err := js.Stream(bounded(t), "USAGE")
	if err != nil {
		t.Fatal(err)
	}
	if n := streamed(t, stream); n != 50 {
		t.Errorf("%d messages", n)
	}
}

// ack: server needs no stream.
func TestNATSServerAck(t *testing.T) {
	srv := natsServer(t, t.TempDir(), 0, func(o *server.Options) { o.Authorization = "sekret"; o.MaxPayload = 4096 })
	nc, _ := natsClient(t, srv.ClientURL(), nats.Token("sekret"))
	sub, err := nc.SubscribeSync("billing.usage")
	if err != nil {
		t.Fatal(err)
	}
	must(nc.Flush())
	s, lines := open(t, configured(t, `nats: {url: "`+srv.ClientURL()+`", subject: billing.usage, ack: server, token: "${T}"}`), map[string]string{"T": "sekret"})
	big := message(1)
	big.Body = append(big.Body, strings.Repeat(" ", 5000)...)
	errs := s.DeliverAll(bounded(t), []billing.Message{message(0), big, message(2)})
	if len(errs) != 3 || errs[0] != nil || !errors.Is(errs[1], billing.ErrRefused) || errs[2] != nil {
		t.Fatalf("%v", errs)
	}
	for _, want := range []int{0, 2} {
		m, err := sub.NextMsgWithContext(bounded(t))
		if err != nil || string(m.Data) != string(message(want).Body) {
			t.Fatalf("%v, %v", m, err)
		}
	}
	if strings.Contains(lines.String(), "sekret") {
		t.Errorf("logged a secret: %s", lines)
	}
}

// A wrong token is an outage, not an error of the events: it can be mended.
func TestNATSWrongToken(t *testing.T) {
	srv := natsServer(t, t.TempDir(), 0, func(o *server.Options) { o.Authorization = "sekret" })
	_, js := natsClient(t, srv.ClientURL(), nats.Token("sekret"))
	addStream(t, js)
	s, lines := open(t, configured(t, `nats: {url: "`+srv.ClientURL()+`", subject: billing.usage, token: "${T}"}`), map[string]string{"T": "hunter2"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Deliver(ctx, message(0)) }()
	eventually(t, "an error in the log", func() bool { return strings.Contains(lines.String(), "cannot deliver") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, billing.ErrRefused) {
		t.Errorf("%v", err)
	}
	if strings.Contains(lines.String(), "hunter2") {
		t.Errorf("logged a secret: %s", lines)
	}
}
