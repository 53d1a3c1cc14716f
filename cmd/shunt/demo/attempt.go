package demo

import (
	"compress/gzip"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// attempt answers one request.
type attempt struct {
	p        *Provider
	w        http.ResponseWriter
	r        *http.Request
	entry    *entry
	complete bool // the whole answer was written
}

// shape is how an API writes an answer.
type shape struct {
	body   func(*answer) any
	events func(*answer) []event
}

var shapes = map[api]shape{
	apiChat:        {(*answer).chatBody, (*answer).chatEvents},
	apiCompletions: {(*answer).textBody, (*answer).textEvents},
	apiResponses:   {(*answer).responsesBody, (*answer).responsesEvents},
}

func (a *attempt) serve(body []byte) {
	c := &a.p.config
	base, of, routed := apiOf(a.r.URL.Path)
	models := false
	if !routed {
		base, models = strings.CutSuffix(a.r.URL.Path, "/models")
	}
	switch {
	case !routed && !models, c.BasePath != "" && base != c.BasePath:
		a.fail(&Failure{Status: http.StatusNotFound})
	case c.APIKey != "" && a.r.Header.Get("authorization") != "Bearer "+c.APIKey:
		a.fail(&Failure{Status: http.StatusUnauthorized})
	case routed != (a.r.Method == http.MethodPost), models && a.r.Method != http.MethodGet:
		a.fail(&Failure{Status: http.StatusMethodNotAllowed})
	case models:
		a.listModels()
	default:
		a.answer(of, body)
	}
}

func (a *attempt) listModels() {
	type entry struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	list := make([]entry, len(a.p.config.Models))
	for i, id := range a.p.config.Models {
		list[i] = entry{id, "model", 1735689600, a.p.config.Name}
	}
	a.json(http.StatusOK, mustMarshal(map[string]any{"object": "list", "data": list}), &Behaviour{})
}

func (a *attempt) answer(of api, body []byte) {
	in, err := readInput(body)
	if err != nil {
		a.fail(&Failure{Status: http.StatusBadRequest})
		return
	}
	a.entry.note(func(r *Request) { r.Model = in.Model })
	if known := a.p.config.Models; len(known) > 0 && !slices.Contains(known, in.Model) {
		a.fail(&Failure{Status: http.StatusNotFound})
		return
	}
	b := a.p.behaviour(in.Model)
	a.wait(time.Duration(b.TTFT))
	if b.Fail != nil {
		a.fail(b.Fail)
		return
	}
	if b.FaultAfter == 0 && b.Fault != FaultError {
		a.strike(b.Fault)
	}
	said := newAnswer(a.p.config.Name, a.p.served.Add(1), time.Now().Unix(), in, &b)
	if in.Stream && !b.Stream.JSON {
		a.stream(of, shapes[of].events(said), &b)
		return
	}
	if b.Fault == FaultError {
		a.json(http.StatusOK, mustMarshal(errorFor(http.StatusInternalServerError)), &b)
		return
	}
	if generated := len(said.text) + len(said.reasoning); generated > 1 {
		a.wait(b.gap() * time.Duration(generated-1))
	}
	a.json(http.StatusOK, mustMarshal(shapes[of].body(said)), &b)
}

// fail answers an error.
func (a *attempt) fail(f *Failure) {
	body := []byte(f.Body)
	if f.Body == "" {
		body = mustMarshal(errorFor(f.Status))
	}
	for name, value := range f.Headers {
		a.w.Header().Set(name, value)
	}
	a.json(f.Status, body, &Behaviour{ContentType: a.w.Header().Get("content-type")})
}

// json answers a body as b has it; a fault of b strikes in its middle.
func (a *attempt) json(status int, body []byte, b *Behaviour) {
	h := a.w.Header()
	if gzipped := a.gzips(b); !gzipped {
		h.Set("content-length", strconv.Itoa(len(body)))
	}
	out, end := a.begin(status, "application/json", b)
	if b.Fault == FaultNone || b.Fault == FaultError {
		_, err := out.Write(body)
		a.complete = err == nil && end() == nil
		return
	}
	if _, err := out.Write(body[:len(body)/2]); err == nil {
		a.flush(out)
	}
	a.strike(b.Fault)
}

func (a *attempt) gzips(b *Behaviour) bool {
	return b.Gzip && strings.Contains(a.r.Header.Get("accept-encoding"), "gzip")
}

// begin writes the answer's head and returns where its body goes, and what ends
// the body.
func (a *attempt) begin(status int, contentType string, b *Behaviour) (out io.Writer, end func() error) {
	h := a.w.Header()
	if b.ContentType != "" {
		contentType = b.ContentType
	}
	h.Set("content-type", contentType)
	a.entry.note(func(r *Request) { r.Status = status })
	if !a.gzips(b) {
		a.w.WriteHeader(status)
		return a.w, func() error { return nil }
	}
	h.Set("content-encoding", "gzip")
	a.w.WriteHeader(status)
	zip := gzip.NewWriter(a.w)
	return zip, zip.Close
}

// flush sends what was written to out.
func (a *attempt) flush(out io.Writer) {
	if zip, ok := out.(*gzip.Writer); ok {
		_ = zip.Flush() // the response writer keeps the error
	}
	_ = http.NewResponseController(a.w).Flush()
}

// wait returns after d. It ends the answer when the client leaves before.
func (a *attempt) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// strike breaks the answer off; it returns only for FaultNone.
func (a *attempt) strike(f Fault) {
	switch f {
	case FaultNone:
		return
	case FaultHang:
		<-a.r.Context().Done()
	case FaultReset:
		a.reset()
	}
	panic(http.ErrAbortHandler)
}

// reset closes the connection so that the kernel sends RST, not FIN.
func (a *attempt) reset() {
	if a.r.ProtoMajor != 1 {
		return // the panic that follows sends RST_STREAM
	}
	// What was flushed must be out before RST throws the send buffer away.
	a.wait(5 * time.Millisecond)
	conn, _, err := http.NewResponseController(a.w).Hijack()
	if err != nil {
		return
	}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close() // not conn: tls.Conn.Close would say goodbye first
}
