package billing

import (
	"fmt"
	"strconv"
	"time"
)

// Every request has an event, and encoding/json took longer over one than all the
// rest of settling. What is written here is what the tags of Event ask for.

// Message is the event as sinks take it.
func (e *Event) Message() (Message, error) {
	body, err := e.appendJSON(make([]byte, 0, eventSize))
	if err != nil {
		return Message{}, fmt.Errorf("billing: event %q: %w", e.ID, err)
	}
	return Message{ID: e.ID, Body: body}, nil
}

// eventSize is room for most events.
const eventSize = 2048

func (e *Event) appendJSON(dst []byte) (_ []byte, err error) {
	dst = appendString(append(dst, `{"specversion":`...), e.SpecVersion)
	dst = appendString(append(dst, `,"type":`...), e.Type)
	dst = appendString(append(dst, `,"id":`...), e.ID)
	dst = appendString(append(dst, `,"source":`...), e.Source)
	dst = member(dst, `,"subject":`, e.Subject)
	if dst, err = appendTime(append(dst, `,"time":`...), e.Time); err != nil {
		return nil, err
	}
	dst = appendString(append(dst, `,"datacontenttype":`...), e.DataContentType)
	if dst, err = e.Data.appendJSON(append(dst, `,"data":`...)); err != nil {
		return nil, err
	}
	return append(dst, '}'), nil
}

func (d *Data) appendJSON(dst []byte) (_ []byte, err error) {
	if dst, err = appendTime(append(dst, `{"started_at":`...), d.StartedAt); err != nil {
		return nil, err
	}
	if dst, err = appendTime(append(dst, `,"ended_at":`...), d.EndedAt); err != nil {
		return nil, err
	}
	dst = appendString(append(dst, `,"api":`...), d.API)
	dst = strconv.AppendBool(append(dst, `,"stream":`...), d.Stream)
	dst = appendText(append(dst, `,"requested_model":`...), d.RequestedModel)
	dst = appendText(append(dst, `,"model":`...), d.Model)
	dst = appendText(append(dst, `,"provider":`...), d.Provider)
	dst = appendText(append(dst, `,"upstream_model":`...), d.UpstreamModel)
	dst = appendString(append(dst, `,"status":`...), string(d.Status))
	dst = d.Decision.appendJSON(append(dst, `,"decision":`...))
	dst = append(dst, `,"attempts":[`...)
	for i := range d.Attempts {
		dst = d.Attempts[i].appendJSON(separated(dst, i))
	}
	dst = d.Usage.appendJSON(append(dst, `],"usage":`...))
	dst = appendPriceData(append(dst, `,"price":`...), d.Price)
	dst = appendDecimal(append(dst, `,"amount":`...), d.Amount)
	dst = appendNull(append(dst, `,"list_amount":`...), d.ListAmount)
	dst = appendString(append(dst, `,"currency":`...), d.Currency)
	dst = appendString(append(dst, `,"billing_mode":`...), string(d.Mode))
	dst = appendText(append(dst, `,"note":`...), Text(d.Note))
	return append(dst, '}'), nil
}

func (a *AttemptData) appendJSON(dst []byte) []byte {
	dst = appendText(append(dst, `{"provider":`...), a.Provider)
	dst = appendText(append(dst, `,"upstream_model":`...), a.UpstreamModel)
	dst = appendText(append(dst, `,"outcome":`...), Text(a.Outcome))
	dst = appendInt(append(dst, `,"status":`...), a.Status)
	return append(appendInt(append(dst, `,"duration_ms":`...), a.DurationMS), '}')
}

func (u *UsageData) appendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"source":`...), string(u.Source))
	dst = appendInt(append(dst, `,"prompt_tokens":`...), u.PromptTokens)
	dst = appendInt(append(dst, `,"completion_tokens":`...), u.CompletionTokens)
	dst = appendInt(append(dst, `,"cache_read_tokens":`...), u.CacheReadTokens)
	dst = appendInt(append(dst, `,"cache_write_tokens":`...), u.CacheWriteTokens)
	return append(appendInt(append(dst, `,"reasoning_tokens":`...), u.ReasoningTokens), '}')
}

func (d *DecisionData) appendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"kind":`...), d.Kind)
	dst = appendString(append(dst, `,"catalog":`...), d.Catalog)
	dst = appendTiers(append(dst, `,"tiers":`...), d.Tiers)
	dst = append(dst, `,"chain":[`...)
	for i := range d.Chain {
		c := &d.Chain[i]
		dst = appendText(append(separated(dst, i), `{"provider":`...), c.Provider)
		dst = appendText(append(dst, `,"upstream_model":`...), c.UpstreamModel)
		dst = appendPriceData(append(dst, `,"price":`...), c.Price)
		dst = append(member(dst, `,"model":`, c.Model), '}')
	}
	dst = strconv.AppendInt(append(dst, `],"chain_cut":`...), int64(d.ChainCut), 10)
	dst = append(dst, `,"left_out":[`...)
	for i := range d.LeftOut {
		l := &d.LeftOut[i]
		dst = appendText(append(separated(dst, i), `{"provider":`...), l.Provider)
		dst = appendText(append(dst, `,"reason":`...), l.Reason)
		dst = append(member(dst, `,"model":`, l.Model), '}')
	}
	dst = strconv.AppendInt(append(dst, `],"left_out_cut":`...), int64(d.LeftOutCut), 10)
	return append(dst, '}')
}

func separated(dst []byte, i int) []byte { return marked(dst, ",", i > 0) }

func appendText(dst []byte, t Text) []byte {
	if t == "" {
		return append(dst, `null`...)
	}
	return appendString(dst, string(t))
}

func appendPriceData(dst []byte, p *PriceData) []byte {
	if p == nil {
		return append(dst, `null`...)
	}
	dst = appendDecimal(append(dst, `{"prompt":`...), p.Prompt)
	dst = appendDecimal(append(dst, `,"completion":`...), p.Completion)
	dst = appendNull(append(dst, `,"cache_read":`...), p.CacheRead)
	dst = appendNull(append(dst, `,"cache_write":`...), p.CacheWrite)
	dst = appendDecimal(append(dst, `,"request":`...), p.Request)
	return append(appendDecimal(append(dst, `,"markup":`...), p.Markup), '}')
}

func appendTiers(dst []byte, list []TierData) []byte {
	if list == nil {
		return append(dst, `null`...)
	}
	dst = append(dst, '[')
	for i := range list {
		t := &list[i]
		dst = strconv.AppendInt(append(separated(dst, i), `{"above":`...), t.Above, 10)
		dst = appendDecimal(append(dst, `,"prompt":`...), t.Prompt)
		dst = appendDecimal(append(dst, `,"completion":`...), t.Completion)
		dst = appendNull(append(dst, `,"cache_read":`...), t.CacheRead)
		dst = append(appendNull(append(dst, `,"cache_write":`...), t.CacheWrite), '}')
	}
	return append(dst, ']')
}

func appendInt(dst []byte, i Int) []byte {
	if !i.Known {
		return append(dst, `null`...)
	}
	return strconv.AppendInt(dst, i.N, 10)
}

// appendTime appends t as RFC 3339 has it, which knows the years 0 to 9999.
func appendTime(dst []byte, t time.Time) ([]byte, error) {
	dst, err := t.AppendText(append(dst, '"'))
	return append(dst, '"'), err
}
