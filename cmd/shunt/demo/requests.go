package demo

import (
	"net/http"
	"sync"
	"time"
)

// Request is a request that a provider saw, and what became of it.
type Request struct {
	ID     int64       `json:"id"` // counts from 1
	Time   time.Time   `json:"time"`
	Proto  string      `json:"proto"` // HTTP/1.1 or HTTP/2.0
	Method string      `json:"method"`
	Host   string      `json:"host"`
	Path   string      `json:"path"` // as sent, with query
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
	Model  string      `json:"model,omitempty"`

	Status     int  `json:"status"`      // of the answer; 0: none was begun
	Events     int  `json:"events"`      // SSE events written
	Done       bool `json:"done"`        // the answer is over, for better or worse
	ClientLeft bool `json:"client_left"` // the client went away before its end
}

// requestLog keeps the last requests, bounded in number and bytes.
type requestLog struct {
	mu        sync.Mutex
	keep      int
	keepBytes int64
	bytes     int64
	seen      int64
	entries   []*entry
	changed   chan struct{} // closed at the next change; nil: nobody waits
}

// entry is a Request under its log's lock.
type entry struct {
	log     *requestLog
	request Request
}

func (l *requestLog) add(r *http.Request, body []byte) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen++
	e := &entry{log: l, request: Request{
		ID: l.seen, Time: time.Now(), Proto: r.Proto, Method: r.Method, Host: r.Host,
		Path: r.RequestURI, Header: r.Header.Clone(), Body: string(body),
	}}
	l.entries = append(l.entries, e)
	l.tell()
	l.bytes += int64(len(body))
	for len(l.entries) > l.keep || l.bytes > l.keepBytes && len(l.entries) > 1 {
		l.bytes -= int64(len(l.entries[0].request.Body))
		l.entries[0] = nil
		l.entries = l.entries[1:]
	}
	return e
}

// tell wakes who waits for a change; l.mu is held.
func (l *requestLog) tell() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (l *requestLog) all() []Request {
	all, _ := l.watch()
	return all
}

// watch returns the requests and what is closed when they are others.
func (l *requestLog) watch() ([]Request, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	out := make([]Request, len(l.entries))
	for i, e := range l.entries {
		out[i] = e.request
		out[i].Header = e.request.Header.Clone()
	}
	return out, l.changed
}

func (l *requestLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.bytes = nil, 0
	l.tell()
}

func (e *entry) note(change func(*Request)) {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	change(&e.request)
	e.log.tell()
}
