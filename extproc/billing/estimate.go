package billing

import (
	"sync"

	"github.com/shunt-gateway/shunt/catalog"
)

// Where a provider reported no usage, tokens are estimated from bytes. These
// ratios hold until a model has been measured; they lean towards the caller, and
// make less of the bytes than tokenizers do.
const (
	// PromptBytesPerToken: 4 bytes of request body are one prompt token, up to
	// MaxEstimatedPrompt tokens: a body above 128 KiB is mostly images and files,
	// whose bytes say nothing of tokens.
	PromptBytesPerToken = 4
	MaxEstimatedPrompt  = 32_768

	// StreamBytesPerToken: 250 bytes of a streamed answer are one completion
	// token, about the size of one chat chunk that carries one.
	StreamBytesPerToken = 250

	// AnswerBytesPerToken: 4 bytes of a JSON answer are one completion token,
	// after AnswerEnvelope bytes that are not text.
	AnswerBytesPerToken = 4
	AnswerEnvelope      = 400
)

// Ratio says how many bytes of an answer one completion token has.
type Ratio struct {
	// Bytes is in 1/1024 of a byte, so that state is whole numbers, and the same
	// observations give the same estimates on every machine.
	Bytes    int64
	Envelope int64 // bytes of each answer that are not text
}

const ratioUnit = 1024

func estimatedPrompt(requestBytes int64) int64 {
	return min(max(requestBytes, 0)/PromptBytesPerToken, MaxEstimatedPrompt)
}

func defaultRatio(stream bool) Ratio {
	if stream {
		return Ratio{Bytes: StreamBytesPerToken * ratioUnit}
	}
	return Ratio{Bytes: AnswerBytesPerToken * ratioUnit, Envelope: AnswerEnvelope}
}

// tokens is the estimate for an answer of so many bytes.
func (r Ratio) tokens(answerBytes int64) int64 {
	text := min(max(answerBytes-r.Envelope, 0), maxBytes)
	return min(text*ratioUnit/max(r.Bytes, 1), MaxTokens)
}

// What an Estimator keeps to.
const (
	ratioModels   = 4096 // models × APIs × stream or not; a further one keeps the default
	ratioMinimum  = 16   // completion tokens that an answer must have to be learned from
	ratioTrusted  = 32   // answers before what was learned is used
	ratioHalving  = 32   // one answer's weight is 1/32
	ratioSpread   = 4    // a learned ratio is between a quarter of the default and four times it
	ratioOutliers = 2    // one answer counts as at most twice, at least half the ratio so far
)

// Estimator learns from completed requests how many bytes of an answer one
// completion token has, by model, API and stream or not, and estimates by it where
// usage is missing. What it learned lives in the process alone. The same calls in
// the same order give the same events. It is safe for use by several goroutines.
type Estimator struct {
	mu    sync.Mutex
	known map[ratioKey]*learned
}

type ratioKey struct {
	model  string
	api    catalog.API
	stream bool
}

type learned struct {
	bytes int64 // as Ratio.Bytes
	seen  int
}

// NewEstimator returns an Estimator that knows nothing yet.
func NewEstimator() *Estimator { return &Estimator{known: make(map[ratioKey]*learned)} }

// Settle is the function Settle with what was learned so far, and learns from r.
func (e *Estimator) Settle(q *Quote, r *Record) Event {
	served := q.Served(r)
	key := ratioKey{q.model(served), q.API, q.Stream}
	event := settle(q, r, served, e.ratio(key))
	if event.Data.Status == Completed && event.Data.Usage.Source == Reported {
		e.learn(key, r.AnswerBytes, r.Usage.sane())
	}
	return event
}

// ratio is the one that estimates for key go by.
func (e *Estimator) ratio(key ratioKey) Ratio {
	r := defaultRatio(key.stream)
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.known[key]; l != nil && l.seen >= ratioTrusted {
		r.Bytes = l.bytes
	}
	return r
}

// learn takes one answer in. Reasoning tokens are left out: providers count them,
// and often do not send them.
func (e *Estimator) learn(key ratioKey, answerBytes int64, u Usage) {
	r := defaultRatio(key.stream)
	sent := u.Completion.N - u.Reasoning.N
	text := min(answerBytes-r.Envelope, maxBytes)
	if sent < ratioMinimum || text <= 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.known[key]
	if l == nil {
		if len(e.known) >= ratioModels {
			return
		}
		l = &learned{bytes: r.Bytes}
		e.known[key] = l
	}
	one := min(max(text*ratioUnit/sent, l.bytes/ratioOutliers), l.bytes*ratioOutliers)
	l.bytes += (one - l.bytes) / ratioHalving
	l.bytes = min(max(l.bytes, r.Bytes/ratioSpread), r.Bytes*ratioSpread)
	l.seen++
}
