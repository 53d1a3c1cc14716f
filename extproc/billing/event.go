package billing

import (
	"time"

	"github.com/shopspring/decimal"
)

// EventType is the CloudEvents type of an Event.
const EventType = "shunt.usage.v1"

// Event is a CloudEvent (1.0, JSON) about one admitted request (BILL-6). Source and
// ID name it: two events with the same pair are the same event, delivered twice.
type Event struct {
	SpecVersion     string    `json:"specversion"`
	Type            string    `json:"type"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Subject         string    `json:"subject,omitempty"` // CloudEvents has no null
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            Data      `json:"data"`
}

// Data is the event itself. docs/billing.md describes every field.
type Data struct {
	StartedAt      time.Time       `json:"started_at"`
	EndedAt        time.Time       `json:"ended_at"`
	API            string          `json:"api"`
	Stream         bool            `json:"stream"`
	RequestedModel Text            `json:"requested_model"`
	Model          Text            `json:"model"`
	Provider       Text            `json:"provider"`
	UpstreamModel  Text            `json:"upstream_model"`
	Status         Status          `json:"status"`
	Decision       DecisionData    `json:"decision"`
	Attempts       []AttemptData   `json:"attempts"`
	Usage          UsageData       `json:"usage"`
	Price          *PriceData      `json:"price"`
	Amount         decimal.Decimal `json:"amount"`
	// ListAmount is what the request would cost without a subscription.
	ListAmount decimal.NullDecimal `json:"list_amount"`
	Currency   string              `json:"currency"`
	Mode       Mode                `json:"billing_mode"`
	// Note says why the amount is not what the status lets expect.
	Note Note `json:"note"`
}

// Note says what of a request's charge its status does not; "" is nothing, and
// null in JSON.
type Note string

// The notes.
const (
	// ErrorAnswer: a 200 that carried an error. Nothing is charged.
	ErrorAnswer Note = "error_answer"
	// EmptyAnswer: no completion token, and no finish reason. Nothing is charged.
	EmptyAnswer Note = "empty_answer"
	// BrokenOff: the provider ended a 200 after some output. That is charged.
	BrokenOff Note = "broken_off"
	// PriceUnknown: there is no price, and so nothing is charged.
	PriceUnknown Note = "price_unknown"
)

// MarshalJSON writes the note, or null.
func (n Note) MarshalJSON() ([]byte, error) { return Text(n).MarshalJSON() }

// Status is what became of a request.
type Status string

// The statuses.
const (
	Completed Status = "completed"
	Cancelled Status = "cancelled" // the client left before the end
	Failed    Status = "failed"    // no provider gave a whole answer
	Unsettled Status = "unsettled" // admitted; how it ended never became known
)

// AttemptData is one attempt.
type AttemptData struct {
	Provider      Text    `json:"provider"`
	UpstreamModel Text    `json:"upstream_model"`
	Outcome       Outcome `json:"outcome"`
	Status        Int     `json:"status"`
	DurationMS    Int     `json:"duration_ms"`
	Reported      bool    `json:"-"` // Envoy told of this attempt by itself
}

// UsageData is what was charged for.
type UsageData struct {
	Source           UsageSource `json:"source"`
	PromptTokens     Int         `json:"prompt_tokens"`
	CompletionTokens Int         `json:"completion_tokens"`
	CacheReadTokens  Int         `json:"cache_read_tokens"`
	CacheWriteTokens Int         `json:"cache_write_tokens"`
	ReasoningTokens  Int         `json:"reasoning_tokens"`
}

// UsageSource says where token counts come from.
type UsageSource string

// The sources.
const (
	Reported  UsageSource = "reported"
	Estimated UsageSource = "estimated" // at least one of prompt and completion is
	None      UsageSource = "none"
)

// PriceData is what the tokens were charged by, per 1,000,000 of them; a null
// cache price means that the prompt price holds.
type PriceData struct {
	Prompt     decimal.Decimal     `json:"prompt"`
	Completion decimal.Decimal     `json:"completion"`
	CacheRead  decimal.NullDecimal `json:"cache_read"`
	CacheWrite decimal.NullDecimal `json:"cache_write"`
	Request    decimal.Decimal     `json:"request"`
	Markup     decimal.Decimal     `json:"markup"`
}
