package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

// roleFloor is the argument that makes this program the floor: the least that an
// ext_proc server can do that answers a request's headers and body.
const roleFloor = "role-floor"

// floorSocket is where it listens, in its working directory.
const floorSocket = "floor.sock"

type floor struct {
	extprocv3.UnimplementedExternalProcessorServer
	chat, stream [2]*extprocv3.ProcessingResponse // answers to headers and body
}

// runFloor serves until its standard input ends.
func runFloor() error {
	debug.SetGCPercent(400)
	ln, err := net.Listen("unix", floorSocket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.NumStreamWorkers(uint32(runtime.GOMAXPROCS(0))))
	f := &floor{}
	f.chat = answers(chatBody("served", whole))
	f.stream = answers(chatBody("served", streamed))
	extprocv3.RegisterExternalProcessorServer(server, f)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that matters
		server.Stop()
	}()
	fmt.Println("ready")
	return server.Serve(ln)
}

// answers replace the body with a constant.
func answers(body []byte) [2]*extprocv3.ProcessingResponse {
	header := func(key, value string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			Header:       &corev3.HeaderValue{Key: key, RawValue: []byte(value)},
		}
	}
	headers := &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
		SetHeaders: []*corev3.HeaderValueOption{header("x-floor", "1"), header("content-length", strconv.Itoa(len(body)))},
	}}}
	replace := &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
		Mutation: &extprocv3.BodyMutation_Body{Body: body},
	}}}
	return [2]*extprocv3.ProcessingResponse{
		{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: headers}},
		{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: replace}},
	}
}

// Process reads headers and body, answers both, and leaves Envoy alone.
func (f *floor) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	m, err := s.Recv()
	if err != nil {
		return err
	}
	body := m.GetRequestBody()
	if body == nil || !body.EndOfStream {
		return errors.New("the second message is not the whole body")
	}
	reply := &f.chat
	if bytes.Contains(body.Body, []byte(streamed)) {
		reply = &f.stream
	}
	for _, r := range reply {
		if err := s.Send(r); err != nil {
			return err
		}
	}
	return nil
}
