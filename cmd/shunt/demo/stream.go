package demo

import (
	"bytes"
	"net/http"
	"time"
)

const defaultSplitGap = 2 * time.Millisecond

// stream answers with SSE events as b has it.
func (a *attempt) stream(of api, events []event, b *Behaviour) {
	if of != apiResponses && !b.Stream.NoDone {
		events = append(events, event{data: []byte("[DONE]"), now: true})
	}
	events, strikes := faulted(of, events, b)
	a.w.Header().Set("cache-control", "no-cache")
	out, end := a.begin(http.StatusOK, "text/event-stream", b)
	send := func(data []byte) bool {
		_, err := out.Write(data)
		a.flush(out)
		return err == nil
	}
	var packet bytes.Buffer
	packed, words := 0, 0
	for i, e := range events {
		if !e.now {
			if words > 0 {
				a.wait(b.gap())
			}
			words++
		}
		encode(&packet, e, &b.Stream)
		if i == len(events)-1 && b.Stream.NoFinalNewline {
			packet.Truncate(len(bytes.TrimRight(packet.Bytes(), "\r\n")))
		}
		packed++
		if packed < b.Stream.PerPacket && i+1 != len(events) && i+1 != strikes {
			continue
		}
		if !a.sendPieces(packet.Bytes(), &b.Stream, send) {
			return
		}
		a.entry.note(func(r *Request) { r.Events = i + 1 })
		packet.Reset()
		packed = 0
		if i+1 == strikes {
			a.strike(b.Fault)
		}
	}
	a.complete = end() == nil
}

// faulted puts b's fault into a stream: an error event in place of its end, or the
// number of events after which the stream breaks off, -1 for never.
func faulted(of api, events []event, b *Behaviour) (_ []event, strikes int) {
	after := min(b.FaultAfter, len(events))
	switch b.Fault {
	case FaultNone:
		return events, -1
	case FaultError:
		return append(events[:after:after], errorEvent(of, after)), -1
	default:
		return events, after
	}
}

// sendPieces sends a packet, cut as SplitAt has it.
func (a *attempt) sendPieces(packet []byte, s *Stream, send func([]byte) bool) bool {
	gap := time.Duration(s.SplitGap)
	if gap == 0 {
		gap = defaultSplitGap
	}
	from := 0
	for _, at := range s.SplitAt {
		if at >= len(packet) {
			break
		}
		if !send(packet[from:at]) {
			return false
		}
		a.wait(gap)
		from = at
	}
	return send(packet[from:])
}

// encode writes an event in SSE's form.
func encode(to *bytes.Buffer, e event, s *Stream) {
	newline := "\n"
	if s.CRLF {
		newline = "\r\n"
	}
	if s.Comment != "" {
		to.WriteString(": " + s.Comment + newline + newline)
	}
	if e.name != "" {
		to.WriteString("event: " + e.name + newline)
	}
	to.WriteString("data: ")
	to.Write(e.data)
	to.WriteString(newline + newline)
}

// errorEvent is how a stream of this API says that it failed.
func errorEvent(of api, sequence int) event {
	body := errorFor(http.StatusInternalServerError)
	if of != apiResponses {
		return event{data: mustMarshal(body), now: true}
	}
	return event{name: "error", now: true, data: mustMarshal(object{
		"type": "error", "code": body.Error.Code, "message": body.Error.Message,
		"param": nil, "sequence_number": sequence,
	})}
}
