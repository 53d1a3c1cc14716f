package soak

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// 11 × 1 + 22 × 2, per million.
	usage  = `"usage":{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33}`
	amount = "0.000055"

	plain    = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	streamed = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	clients  = 16
)

// provider answers at once; one stream in five.
func provider(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if !strings.Contains(string(body), `"stream":true`) {
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],`+usage+`}`)
		return
	}
	w.Header().Set("content-type", "text/event-stream")
	for range 5 {
		_, _ = io.WriteString(w, `data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}`+"\n\n")
		_ = http.NewResponseController(w).Flush()
	}
	_, _ = io.WriteString(w, `data: {"id":"x","object":"chat.completion.chunk","choices":[],`+usage+"}\n\ndata: [DONE]\n\n")
}

// load is clients that make requests to wherever shunt is.
type load struct {
	url    atomic.Pointer[string]
	client *http.Client
	wg     sync.WaitGroup
	stop   chan struct{}

	mu       sync.Mutex
	answered map[key]struct{} // 200, to the last byte
	other    map[int]int      // the rest by status; 0: broken off or not reached
	made     atomic.Int64
}

func newLoad() *load {
	return &load{
		client:   &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
		answered: map[key]struct{}{}, other: map[int]int{},
	}
}

// start makes rate requests a second, or as many as it can where rate is 0, until end.
func (l *load) start(rate float64) {
	l.stop = make(chan struct{})
	for i := range clients {
		l.wg.Go(func() { l.work(i, rate/clients) })
	}
}

func (l *load) work(n int, rate float64) {
	began := time.Now()
	for i := 0; ; i++ {
		pause := time.Duration(0)
		if rate > 0 {
			pause = time.Until(began.Add(time.Duration(float64(i) / rate * float64(time.Second))))
		}
		select {
		case <-l.stop:
			return
		case <-time.After(pause):
		}
		body := plain
		if (n+i)%5 == 0 {
			body = streamed
		}
		if !l.one(body) {
			// A port where nobody listens must not be hammered.
			select {
			case <-l.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// one makes a request and reports whether there was an answer.
func (l *load) one(body string) bool {
	l.made.Add(1)
	status, id := 0, ""
	resp, err := l.client.Post(*l.url.Load()+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err == nil {
		id = resp.Header.Get("x-request-id")
		if _, err = io.Copy(io.Discard, resp.Body); err == nil {
			status = resp.StatusCode
		}
		_ = resp.Body.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if status != http.StatusOK {
		l.other[status]++
		return status != 0
	}
	l.answered[keyOf(id)] = struct{}{}
	return true
}

// end stops the clients and waits for their last requests.
func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
	l.client.CloseIdleConnections()
}
