package demo

import "strings"

// object is a JSON object whose fields depend on the event.
type object map[string]any

type responsesUsage struct {
	Input        int `json:"input_tokens"`
	InputDetails struct {
		Cached     int `json:"cached_tokens"`
		CacheWrite int `json:"cache_write_tokens"`
	} `json:"input_tokens_details"`
	Output        int `json:"output_tokens"`
	OutputDetails struct {
		Reasoning int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	Total int `json:"total_tokens"`
}

func (c *Counts) responses() *responsesUsage {
	if c == nil {
		return nil
	}
	u := &responsesUsage{Input: c.Prompt, Output: c.Completion, Total: c.Prompt + c.Completion}
	u.InputDetails.Cached, u.InputDetails.CacheWrite = c.Cached, c.CacheWrite
	u.OutputDetails.Reasoning = c.Reasoning
	return u
}

// response is the response object in this status with these output items.
func (a *answer) response(status string, output []object) object {
	r := object{
		"id": a.id("resp_"), "object": "response", "created_at": a.created, "status": status,
		"error": nil, "incomplete_details": nil, "instructions": nil, "max_output_tokens": nil,
		"metadata": object{}, "model": a.model, "output": output, "parallel_tool_calls": true,
		"previous_response_id": nil, "reasoning": object{"effort": nil, "summary": nil},
		"store": true, "temperature": 1.0, "text": object{"format": object{"type": "text"}},
		"tool_choice": "auto", "tools": []object{}, "top_p": 1.0, "truncation": "disabled",
		"usage": nil, "user": nil,
	}
	if status == "in_progress" {
		return r
	}
	if a.counts != nil {
		r["usage"] = a.counts.responses()
	}
	if status == "incomplete" {
		r["incomplete_details"] = object{"reason": "max_output_tokens"}
	}
	return r
}

func (a *answer) status() string {
	if a.cut {
		return "incomplete"
	}
	return "completed"
}

// responsesBody is the JSON answer of /responses.
func (a *answer) responsesBody() any {
	s := responseEvents{a: a}
	s.items()
	return a.response(a.status(), s.output)
}

// responsesEvents is the event sequence of a /responses stream.
func (a *answer) responsesEvents() []event {
	s := responseEvents{a: a}
	s.add("response.created", object{"response": a.response("in_progress", []object{})})
	s.add("response.in_progress", object{"response": a.response("in_progress", []object{})})
	s.items()
	s.add("response."+a.status(), object{"response": a.response(a.status(), s.output)})
	return s.events
}

// responseEvents collects the events of a stream and the finished output items.
type responseEvents struct {
	a      *answer
	events []event
	output []object
}

func (s *responseEvents) add(name string, fields object) {
	fields["type"], fields["sequence_number"] = name, len(s.events)
	now := !strings.HasSuffix(name, ".delta")
	s.events = append(s.events, event{name: name, data: mustMarshal(fields), now: now})
}

func (s *responseEvents) items() {
	s.output = []object{}
	if len(s.a.reasoning) > 0 {
		s.reasoning()
	}
	if s.a.call != "" {
		s.functionCall()
	} else {
		s.message()
	}
}

// item adds one output item: as it begins, its inner events, as it ends.
func (s *responseEvents) item(begun, ended object, inner func(place func(object) object)) {
	index := len(s.output)
	s.add("response.output_item.added", object{"output_index": index, "item": begun})
	inner(func(fields object) object {
		fields["item_id"], fields["output_index"] = begun["id"], index
		return fields
	})
	s.add("response.output_item.done", object{"output_index": index, "item": ended})
	s.output = append(s.output, ended)
}

func (s *responseEvents) message() {
	text := s.a.content()
	part := func(text string) object {
		return object{"type": "output_text", "text": text, "annotations": []object{}, "logprobs": []object{}}
	}
	message := func(status string, content ...object) object {
		return object{
			"id": s.a.id("msg_"), "type": "message", "role": "assistant", "status": status,
			"content": append([]object{}, content...),
		}
	}
	s.item(message("in_progress"), message(s.a.status(), part(text)), func(place func(object) object) {
		at := func(fields object) object {
			fields["content_index"] = 0
			return place(fields)
		}
		s.add("response.content_part.added", at(object{"part": part("")}))
		for _, word := range s.a.text {
			s.add("response.output_text.delta", at(object{"delta": word, "logprobs": []object{}}))
		}
		s.add("response.output_text.done", at(object{"text": text, "logprobs": []object{}}))
		s.add("response.content_part.done", at(object{"part": part(text)}))
	})
}

func (s *responseEvents) reasoning() {
	text := strings.Join(s.a.reasoning, "")
	part := func(text string) object { return object{"type": "summary_text", "text": text} }
	item := func(summary ...object) object {
		return object{"id": s.a.id("rs_"), "type": "reasoning", "summary": append([]object{}, summary...)}
	}
	s.item(item(), item(part(text)), func(place func(object) object) {
		at := func(fields object) object {
			fields["summary_index"] = 0
			return place(fields)
		}
		s.add("response.reasoning_summary_part.added", at(object{"part": part("")}))
		for _, word := range s.a.reasoning {
			s.add("response.reasoning_summary_text.delta", at(object{"delta": word}))
		}
		s.add("response.reasoning_summary_text.done", at(object{"text": text}))
		s.add("response.reasoning_summary_part.done", at(object{"part": part(text)}))
	})
}

func (s *responseEvents) functionCall() {
	call := func(status, arguments string) object {
		return object{
			"id": s.a.id("fc_"), "type": "function_call", "status": status,
			"call_id": s.a.id("call_"), "name": s.a.call, "arguments": arguments,
		}
	}
	whole := arguments(s.a.provider)
	s.item(call("in_progress", ""), call("completed", whole), func(place func(object) object) {
		for _, piece := range callPieces(s.a.provider) {
			s.add("response.function_call_arguments.delta", place(object{"delta": piece}))
		}
		s.add("response.function_call_arguments.done", place(object{"arguments": whole}))
	})
}
