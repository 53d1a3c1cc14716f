package conformance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Endpoint is a request to an endpoint that shunt answers itself, and the answer:
//
//	=== API-3f a bare slash
//	quote seed 002: "Do not use the unencoded form …"
//	GET /api/models/a/b/providers
//	----
//	404 not_found
//
// An answer is 200 and the JSON on the lines below it; or a status, an error's code and,
// if it has one, its param. Lines before the first case that begin with # are comments.
type Endpoint struct {
	ID, Title    string
	Quotes       []string
	Method, Path string
	Status       int
	Code, Param  string // of an error
	Body         string // of a 200: any JSON that says the same
}

// ParseEndpoints reads a file of cases.
func ParseEndpoints(text string) ([]Endpoint, error) {
	var out []Endpoint
	_, text, _ = strings.Cut("\n"+text, "\n=== ")
	for part := range strings.SplitSeq(text, "\n=== ") {
		e, err := parseEndpoint(part)
		if err != nil {
			return nil, fmt.Errorf("case %.20q: %w", part, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func parseEndpoint(text string) (e Endpoint, err error) {
	request, answer, ok := strings.Cut(text, "\n----\n")
	if !ok {
		return e, fmt.Errorf("no answer below ----")
	}
	lines := strings.Split(request, "\n")
	e.ID, e.Title, _ = strings.Cut(lines[0], " ")
	for _, line := range lines[1:] {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "quote":
			e.Quotes = append(e.Quotes, rest)
		case e.Path != "" || !strings.HasPrefix(rest, "/"):
			return e, fmt.Errorf("%q is not a method and a path", line)
		default:
			e.Method, e.Path = word, rest
		}
	}
	first, body, _ := strings.Cut(answer, "\n")
	words := append(strings.Fields(first), "", "")
	if e.Status, err = strconv.Atoi(words[0]); err != nil || e.Path == "" {
		return e, fmt.Errorf("%q is not a status, or there is no request", first)
	}
	body, _, _ = strings.Cut(body, "\n#") // the comment before the next case
	e.Code, e.Param, e.Body = words[1], words[2], strings.TrimSpace(body)
	if (e.Status == 200) != (e.Body != "") || (e.Status == 200) == (e.Code != "") {
		return e, fmt.Errorf("want a body with 200, and a code with anything else")
	}
	return e, nil
}

// Check compares an answer with the case's. Numbers have to be spelt alike: prices are
// exact.
func (e *Endpoint) Check(status int, body []byte) error {
	want := e.Body
	if e.Status != 200 {
		var answer struct{ Error struct{ Message string } }
		if err := json.Unmarshal(body, &answer); err != nil || answer.Error.Message == "" {
			return fmt.Errorf("no error with a message: %d %s", status, body)
		}
		param := any(nil)
		if e.Param != "" {
			param = e.Param
		}
		shape, err := json.Marshal(map[string]any{"error": map[string]any{
			"message": answer.Error.Message, "type": "invalid_request_error", "param": param, "code": e.Code,
		}})
		if err != nil {
			return err
		}
		want = string(shape)
	}
	a, errA := value(body)
	b, errB := value([]byte(want))
	if status != e.Status || errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		return fmt.Errorf("got  %d %s\nwant %d %s", status, body, e.Status, want)
	}
	return nil
}

func value(text []byte) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}
