package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/test/leak"
	"github.com/shunt-gateway/shunt/test/loglines"
)

func TestMain(m *testing.M) { os.Exit(leak.Check(m.Run())) }

const patience = 60 * time.Second

func dial(t *testing.T, ln *bufconn.Listener) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///shunt", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serve runs a Server over gRPC and returns what opens a stream to it.
func serve(t *testing.T, cfg Config) func() accesslogv3.AccessLogService_StreamAccessLogsClient {
	t.Helper()
	ln := bufconn.Listen(1 << 16)
	gs := grpc.NewServer()
	New(cfg).Register(gs)
	var wg sync.WaitGroup
	wg.Go(func() { _ = gs.Serve(ln) })
	conn := dial(t, ln)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() {
		cancel()
		_ = conn.Close()
		gs.Stop()
		wg.Wait()
	})
	return func() accesslogv3.AccessLogService_StreamAccessLogsClient {
		t.Helper()
		stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
}

func identified(m *accesslogv3.StreamAccessLogsMessage) *accesslogv3.StreamAccessLogsMessage {
	m.Identifier = &accesslogv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: "envoy-1"}, LogName: names.LogName}
	return m
}

func logTo(b *loglines.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// counted is a handler that counts requests by id.
type counted struct {
	mu  sync.Mutex
	ids map[string]int
}

func (c *counted) request(_ context.Context, q *billing.Quote, _ *billing.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[string]int{}
	}
	c.ids[q.ID]++
	return nil
}

func (c *counted) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ids)
}

// BILL-1: over a stream, every admitted request once, and nothing for the others.
func TestStream(t *testing.T) {
	order, entries := recorded(t)
	var seen counted
	open := serve(t, Config{Request: seen.request, Log: discard()})
	stream := open()
	want := 0
	for i, name := range order {
		m := batch(entries[name]...)
		if i == 0 {
			identified(m)
		}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
		if name != "noquote" && !strings.Contains(name, "strip") {
			want++
		}
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	for id, n := range seen.ids {
		if n != 1 && id != "without-header" {
			t.Errorf("BILL-1: %s settled %d times", id, n)
		}
	}
	if got := seen.len() - 1; got != want { // the cases without a header share an id
		t.Errorf("BILL-1: %d requests, want %d", got, want)
	}
}

// The attempts of a request may come on another stream than the request, since
// Envoy opens a new one when one breaks.
func TestAttemptsSurviveTheirStream(t *testing.T) {
	_, entries := recorded(t)
	got := make(chan []billing.Attempt, 1)
	open := serve(t, Config{Log: discard(), Request: func(_ context.Context, _ *billing.Quote, r *billing.Record) error {
		got <- r.Attempts
		return nil
	}})
	list := entries["e503-ok"]
	for _, e := range [][]*logv3.HTTPAccessLogEntry{list[:1], list[1:]} {
		stream := open()
		if err := stream.Send(identified(batch(e...))); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.CloseAndRecv(); err != nil {
			t.Fatal(err)
		}
	}
	if a := <-got; len(a) != 2 || a[0].Provider != "e503" || a[1].Provider != "ok" {
		t.Errorf("%+v", a)
	}
}

// SEC-6: nonsense closes its stream with a clear log line, keeps nothing else of the
// message from being settled, and leaves other streams alone.
func TestNonsense(t *testing.T) {
	_, entries := recorded(t)
	good := entries["json"]
	for name, c := range map[string]struct {
		message *accesslogv3.StreamAccessLogsMessage
		says    string
		settles int
	}{
		"no identifier":    {batch(good...), "log name", 0},
		"another log":      {&accesslogv3.StreamAccessLogsMessage{Identifier: &accesslogv3.StreamAccessLogsMessage_Identifier{LogName: "tcp"}}, `log name \"tcp\"`, 0},
		"no entries":       {identified(&accesslogv3.StreamAccessLogsMessage{}), "want HTTP", 0},
		"TCP entries":      {identified(&accesslogv3.StreamAccessLogsMessage{LogEntries: &accesslogv3.StreamAccessLogsMessage_TcpLogs{}}), "want HTTP", 0},
		"an empty entry":   {identified(batch(append([]*logv3.HTTPAccessLogEntry{{}}, good...)...)), "entry 1 of 3", 1},
		"an untyped entry": {identified(batch(append(good[:2:2], &logv3.HTTPAccessLogEntry{CommonProperties: &logv3.AccessLogCommon{}})...)), "entry 3 of 3", 1},
	} {
		t.Run(name, func(t *testing.T) {
			var lines loglines.Buffer
			var seen counted
			open := serve(t, Config{Request: seen.request, Log: logTo(&lines)})
			other, bad := open(), open()
			if err := bad.Send(c.message); err != nil {
				t.Fatal(err)
			}
			if _, err := bad.CloseAndRecv(); status.Code(err) != codes.InvalidArgument {
				t.Errorf("the stream ends with %v", err)
			}
			if !strings.Contains(lines.String(), "access log stream closed") || !strings.Contains(lines.String(), c.says) {
				t.Errorf("logged %q, want %q in it", lines.String(), c.says)
			}
			if seen.len() != c.settles {
				t.Errorf("%d settled, want %d", seen.len(), c.settles)
			}
			if err := other.Send(identified(batch(entries["stream"]...))); err != nil {
				t.Fatal(err)
			}
			if _, err := other.CloseAndRecv(); err != nil {
				t.Errorf("another stream: %v", err)
			}
		})
	}
}

// A quote that cannot be read costs its own request the event, loudly, and nobody
// else anything.
func TestBadQuote(t *testing.T) {
	_, entries := recorded(t)
	bad := proto.Clone(entries["stream"][1]).(*logv3.HTTPAccessLogEntry)
	for name, v := range map[string]*structpb.Value{
		"text": structpb.NewStringValue(`{"v":7}`), "number": structpb.NewNumberValue(1), "null": structpb.NewNullValue(),
	} {
		var lines loglines.Buffer
		var seen counted
		open := serve(t, Config{Request: seen.request, Log: logTo(&lines)})
		bad.CommonProperties.Metadata.FilterMetadata[names.Namespace].Fields[names.KeyQuote] = v
		stream := open()
		if err := stream.Send(identified(batch(bad, entries["json"][1]))); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.CloseAndRecv(); err != nil {
			t.Errorf("%s: the stream ends with %v", name, err)
		}
		if seen.len() != 1 {
			t.Errorf("%s: %d settled, want the other one", name, seen.len())
		}
		if out := lines.String(); !strings.Contains(out, "not billed") || !strings.Contains(out, bad.GetRequest().GetRequestId()) {
			t.Errorf("%s: logged %q", name, out)
		}
	}
}

// SEC-6: a panic ends its stream and is logged with where it was.
func TestPanic(t *testing.T) {
	_, entries := recorded(t)
	var lines loglines.Buffer
	open := serve(t, Config{Log: logTo(&lines), Request: func(context.Context, *billing.Quote, *billing.Record) error { panic("oh no") }})
	stream := open()
	if err := stream.Send(identified(batch(entries["json"]...))); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.Internal {
		t.Errorf("the stream ends with %v", err)
	}
	if out := lines.String(); !strings.Contains(out, "oh no") || !strings.Contains(out, "server_test.go") {
		t.Errorf("logged %q", out)
	}
}

// A handler that cannot take a request ends the stream, and what else the message
// held was offered to it.
func TestHandlerError(t *testing.T) {
	_, entries := recorded(t)
	var calls atomic.Int32
	open := serve(t, Config{Log: discard(), Request: func(context.Context, *billing.Quote, *billing.Record) error {
		calls.Add(1)
		return errors.New("sink is closed")
	}})
	stream := open()
	if err := stream.Send(identified(batch(append(entries["json"], entries["stream"]...)...))); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.Unavailable || calls.Load() != 2 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

// While the handler blocks, the sender is held back, and nothing is lost.
func TestBackpressure(t *testing.T) {
	_, entries := recorded(t)
	template := entries["json"][1]
	gate := make(chan struct{})
	var seen counted
	open := serve(t, Config{Log: discard(), Request: func(ctx context.Context, q *billing.Quote, r *billing.Record) error {
		<-gate
		return seen.request(ctx, q, r)
	}})
	const n = 2000 // of about 1 KB; a stream's window is 64 KB
	var sent atomic.Int32
	done := make(chan error, 1)
	stream := open()
	go func() {
		for i := range n {
			e := proto.Clone(template).(*logv3.HTTPAccessLogEntry)
			fields := e.CommonProperties.Metadata.FilterMetadata[names.Namespace].Fields
			fields[names.KeyQuote] = structpb.NewStringValue(strings.Replace(fields[names.KeyQuote].GetStringValue(), e.GetRequest().GetRequestId(), fmt.Sprintf("id-%d", i), 1))
			m := batch(e)
			if i == 0 {
				identified(m)
			}
			if err := stream.Send(m); err != nil {
				done <- err
				return
			}
			sent.Add(1)
		}
		_, err := stream.CloseAndRecv()
		done <- err
	}()
	// The sender has come to a stop when its count stays the same for a while.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last, same := int32(-1), 0; same < 4; {
		<-tick.C
		if now := sent.Load(); now == last && now > 0 {
			same++
		} else {
			last, same = now, 0
		}
	}
	if now := sent.Load(); now >= n {
		t.Errorf("all %d were sent while the handler stood still", now)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if seen.len() != n {
		t.Errorf("%d settled, want %d", seen.len(), n)
	}
}

// An Envoy that goes away is no error; what it said is settled all the same.
func TestEnvoyGoesAway(t *testing.T) {
	_, entries := recorded(t)
	var lines loglines.Buffer
	gate, settled := make(chan struct{}), make(chan error, 1)
	ln := bufconn.Listen(1 << 16)
	gs := grpc.NewServer()
	New(Config{Log: logTo(&lines), Request: func(ctx context.Context, _ *billing.Quote, _ *billing.Record) error {
		<-gate
		settled <- ctx.Err()
		return nil
	}}).Register(gs)
	go func() { _ = gs.Serve(ln) }()
	conn := dial(t, ln)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(identified(batch(entries["json"]...))); err != nil {
		t.Fatal(err)
	}
	gate <- struct{}{} // the handler has the request
	_ = conn.Close()
	if err := <-settled; err != nil {
		t.Errorf("the handler's context ended with its stream: %v", err)
	}
	gs.GracefulStop()
	if out := lines.String(); out != "" {
		t.Errorf("logged %q", out)
	}
	if _, err := stream.CloseAndRecv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client's stream ends with %v", err)
	}
}

// A server can stop while a handler blocks for good: a full disk, say.
func TestStopWhileBlocked(t *testing.T) {
	_, entries := recorded(t)
	var lines loglines.Buffer
	blocked := make(chan struct{})
	s := New(Config{Log: logTo(&lines), Request: func(ctx context.Context, _ *billing.Quote, _ *billing.Record) error {
		close(blocked)
		<-ctx.Done()
		return ctx.Err()
	}})
	s.linger = 10 * time.Millisecond
	ln := bufconn.Listen(1 << 16)
	gs := grpc.NewServer(grpc.WaitForHandlers(true))
	s.Register(gs)
	go func() { _ = gs.Serve(ln) }()
	conn := dial(t, ln)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := accesslogv3.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(identified(batch(entries["json"]...))); err != nil {
		t.Fatal(err)
	}
	<-blocked
	stopped := make(chan struct{})
	go func() { gs.Stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-ctx.Done():
		t.Fatal("the server does not stop")
	}
}
