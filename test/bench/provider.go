package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// The provider is a process of its own, so that its CPU is nobody else's, and does
// as little as it can: prebuilt answers, one write each.

// roleProvider is the argument that makes this program the provider.
const roleProvider = "role-provider"

// Stream shapes.
const (
	streamChunks = 50
	fastGap      = 2 * time.Millisecond
	heldGap      = time.Second // 50 s: longer than the holding takes
)

// Answers of the provider; each has a listener of its own.
const (
	siteFast = iota // JSON at once, or 50 chunks 2 ms apart
	siteDown        // 503 at once
	siteHeld        // 50 chunks 1 s apart
	sites
)

const jsonAnswer = `{"id":"chatcmpl-1","object":"chat.completion","created":1735689600,"model":"bench","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"Hello from the bench: one two three four five six seven eight nine ten."},` +
	`"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":256,"completion_tokens":16,"total_tokens":272,` +
	`"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`

const downAnswer = `{"error":{"message":"The model is overloaded.","type":"server_error","param":null,"code":"overloaded"}}`

func plainReply(status, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", status, len(body), body)
}

func chunked(body string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(body), body) }

const chunkHead = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1735689600,"model":"bench",`

var (
	fastReply    = plainReply("200 OK", jsonAnswer)
	downReply    = plainReply("503 Service Unavailable", downAnswer)
	streamHead   = []byte("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
	chunk        = chunked(chunkHead + `"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}` + "\n\n")
	firstChunk   = append(bytes.Clone(streamHead), chunk...)
	usageChunk   = chunked(chunkHead + `"choices":[],"usage":{"prompt_tokens":256,"completion_tokens":50,"total_tokens":306}}` + "\n\n")
	lastChunk    = append(chunked("data: [DONE]\n\n"), "0\r\n\r\n"...)
	endWithUsage = append(bytes.Clone(usageChunk), lastChunk...)
)

// runProvider prints its ports and serves until its standard input ends.
func runProvider() error {
	var ports []string
	for site := range sites {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		ports = append(ports, strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
		go accept(ln, site)
	}
	fmt.Println(strings.Join(ports, " "))
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func accept(ln net.Listener, site int) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "provider:", err)
			return
		}
		go func() {
			defer conn.Close()
			if err := answerAll(conn, site); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && site != siteHeld {
				fmt.Fprintln(os.Stderr, "provider:", err)
			}
		}()
	}
}

// answerAll answers until the connection ends, and says how it did.
func answerAll(conn net.Conn, site int) error {
	in := bufio.NewReaderSize(conn, 8<<10)
	var body bytes.Buffer
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return err
		}
		body.Reset()
		if _, err := body.ReadFrom(r.Body); err != nil {
			return err
		}
		switch {
		case site == siteDown:
			_, err = conn.Write(downReply)
		case bytes.Contains(body.Bytes(), []byte(`"stream":true`)):
			gap := fastGap
			if site == siteHeld {
				gap = heldGap
			}
			end := lastChunk
			if bytes.Contains(body.Bytes(), []byte(`"include_usage":true`)) {
				end = endWithUsage
			}
			err = stream(conn, gap, end)
		default:
			_, err = conn.Write(fastReply)
		}
		if err != nil {
			return err
		}
	}
}

// stream keeps to its time table: a late chunk does not delay those after it.
func stream(conn net.Conn, gap time.Duration, end []byte) error {
	begun := time.Now()
	if _, err := conn.Write(firstChunk); err != nil {
		return err
	}
	for i := 1; i < streamChunks; i++ {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * gap)))
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
	}
	_, err := conn.Write(end)
	return err
}
