package main

import (
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// CMD-2: shunt ends although an Envoy that stays keeps a stream open, as it does for
// its access log.
func TestStopWithOpenStream(t *testing.T) {
	t.Parallel()
	opened := make(chan struct{})
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		close(opened)
		<-stream.Context().Done()
		return nil
	}))
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/log/Stream"); err != nil {
		t.Fatal(err)
	}
	<-opened
	if err := stopGRPC(t.Context(), s); err != nil { // without end, if the stream is waited for
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
