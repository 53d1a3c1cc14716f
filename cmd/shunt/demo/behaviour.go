package demo

import (
	"errors"
	"fmt"
	"time"
)

// Behaviour is how a provider answers. The zero Behaviour answers every request
// at once with DefaultTokens words and honest usage.
type Behaviour struct {
	TTFT     Duration `json:"ttft,omitempty"`      // wait before the first byte of any answer
	ChunkGap Duration `json:"chunk_gap,omitempty"` // wait between two chunks of a stream
	// TokensPerSecond sets the gap where ChunkGap is 0; 50 means 20ms. 0: no gap.
	TokensPerSecond float64 `json:"tokens_per_second,omitempty"`

	// Tokens is how many words are written; the request's max_tokens (and its
	// later names) may lower it. 0: DefaultTokens.
	Tokens    int `json:"tokens,omitempty"`
	Reasoning int `json:"reasoning,omitempty"` // words of reasoning before them

	// Fail answers an error status, Fault breaks the connection or the stream; set
	// at most one. FailureRate is the share of requests that they strike: 0.25 is
	// every fourth on average, 0 means all. Alone it fails with 503.
	Fail        *Failure `json:"fail,omitempty"`
	Fault       Fault    `json:"fault,omitempty"`
	FaultAfter  int      `json:"fault_after,omitempty"` // SSE events sent before the fault; see Fault
	FailureRate float64  `json:"failure_rate,omitempty"`

	Usage  Usage  `json:"usage,omitzero"`
	Stream Stream `json:"stream,omitzero"`

	Gzip        bool   `json:"gzip,omitempty"`         // compress when accept-encoding allows it
	ContentType string `json:"content_type,omitempty"` // of successful answers; "": the right one
}

// DefaultTokens is how many words an answer has unless Behaviour.Tokens says.
const DefaultTokens = 8

// Failure is an answer with an error status.
type Failure struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers,omitempty"` // retry-after, …
	Body    string            `json:"body,omitempty"`    // "": an OpenAI error object for Status
}

// Fault is a way to break off an answer. With FaultAfter 0 it strikes before the
// first byte of the answer, else after that many SSE events; a JSON answer is
// then broken off in the middle of its body.
type Fault string

// The faults. FaultError keeps the connection: it ends a 200 stream with an
// error event, and makes a JSON answer a 200 with an error object.
const (
	FaultNone  Fault = ""
	FaultReset Fault = "reset" // TCP RST; HTTP/2: RST_STREAM
	FaultClose Fault = "close" // end of connection without the end of the answer
	FaultHang  Fault = "hang"  // silence until the client leaves
	FaultError Fault = "error"
)

// Usage is what an answer reports.
type Usage struct {
	When  UsageWhen  `json:"when,omitempty"`
	Where UsageWhere `json:"where,omitempty"`
	Null  bool       `json:"null,omitempty"` // `"usage":null` on the other chunks, as OpenAI sends it
	// Counts is reported as it stands. nil: counted from request and answer, where a
	// prompt token is four bytes of the JSON of messages, prompt or input.
	Counts *Counts `json:"counts,omitempty"`
}

// UsageWhen says when a stream of the chat and completions APIs reports usage. JSON
// answers and the Responses API always do, unless UsageNever.
type UsageWhen string

// The times.
const (
	UsageAsked  UsageWhen = "" // stream_options.include_usage
	UsageAlways UsageWhen = "always"
	UsageNever  UsageWhen = "never"
)

// UsageWhere says which chunk of a stream carries usage.
type UsageWhere string

// The places.
const (
	UsageOwnChunk UsageWhere = ""      // its own last chunk, with empty choices
	UsageOnLast   UsageWhere = "last"  // beside the finish reason
	UsageOnEvery  UsageWhere = "every" // on each chunk, growing
)

// Counts are token counts as the API reports them: Prompt includes Cached and
// CacheWrite, Completion includes Reasoning.
type Counts struct {
	Prompt     int `json:"prompt"`
	Completion int `json:"completion"`
	Cached     int `json:"cached,omitempty"`
	CacheWrite int `json:"cache_write,omitempty"`
	Reasoning  int `json:"reasoning,omitempty"`
}

// Stream is how an SSE answer is written. The zero Stream is a well-made one.
type Stream struct {
	CRLF           bool   `json:"crlf,omitempty"`
	Comment        string `json:"comment,omitempty"`          // sent as `: comment` before every event
	NoFinalNewline bool   `json:"no_final_newline,omitempty"` // the last line is not ended
	NoDone         bool   `json:"no_done,omitempty"`          // no `data: [DONE]`
	// SplitAt cuts every packet at these byte offsets; each piece is flushed SplitGap
	// (default 2ms) after the one before. A packet is one event with its comment,
	// unless PerPacket says.
	SplitAt  []int    `json:"split_at,omitempty"`
	SplitGap Duration `json:"split_gap,omitempty"`
	// PerPacket is how many events are written at once. 0: one.
	PerPacket int `json:"per_packet,omitempty"`
	// EventBytes pads the first word so that its event has at least this size: 921600
	// is 900 KB. 0: no padding.
	EventBytes int `json:"event_bytes,omitempty"`
	// JSON answers a stream request with a JSON body.
	JSON bool `json:"json,omitempty"`
}

// Duration is a time.Duration that JSON spells as Go does: "300ms".
type Duration time.Duration

// String spells d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes d as time.Duration's String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// gap is the wait between two chunks.
func (b *Behaviour) gap() time.Duration {
	if b.ChunkGap == 0 && b.TokensPerSecond > 0 {
		return time.Duration(float64(time.Second) / b.TokensPerSecond)
	}
	return time.Duration(b.ChunkGap)
}

// Validate reports every field that has no meaning, with its value and limit.
func (b *Behaviour) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	notNegative := func(field string, v int64) {
		if v < 0 {
			bad("%s is %d, the least is 0", field, v)
		}
	}
	notNegative("ttft", int64(b.TTFT))
	notNegative("chunk_gap", int64(b.ChunkGap))
	notNegative("tokens", int64(b.Tokens))
	notNegative("reasoning", int64(b.Reasoning))
	notNegative("fault_after", int64(b.FaultAfter))
	notNegative("stream.split_gap", int64(b.Stream.SplitGap))
	notNegative("stream.per_packet", int64(b.Stream.PerPacket))
	notNegative("stream.event_bytes", int64(b.Stream.EventBytes))
	if !(b.TokensPerSecond >= 0) {
		bad("tokens_per_second is %v, the least is 0", b.TokensPerSecond)
	}
	if !(b.FailureRate >= 0 && b.FailureRate <= 1) {
		bad("failure_rate is %v, not within 0 to 1", b.FailureRate)
	}
	if f := b.Fail; f != nil && (f.Status < 400 || f.Status > 599) {
		bad("fail.status is %d, not within 400 to 599", f.Status)
	}
	if b.Fail != nil && b.Fault != FaultNone {
		bad("fail and fault %q exclude each other", b.Fault)
	}
	for i, at := range b.Stream.SplitAt {
		if at <= 0 || i > 0 && at <= b.Stream.SplitAt[i-1] {
			bad("stream.split_at %v does not ascend from 1", b.Stream.SplitAt)
			break
		}
	}
	errs = append(errs,
		oneOf("fault", b.Fault, FaultNone, FaultReset, FaultClose, FaultHang, FaultError),
		oneOf("usage.when", b.Usage.When, UsageAsked, UsageAlways, UsageNever),
		oneOf("usage.where", b.Usage.Where, UsageOwnChunk, UsageOnLast, UsageOnEvery))
	return errors.Join(errs...)
}

func oneOf[T ~string](field string, got T, known ...T) error {
	for _, k := range known {
		if got == k {
			return nil
		}
	}
	return fmt.Errorf("%s is %q, not one of %q", field, got, known)
}
