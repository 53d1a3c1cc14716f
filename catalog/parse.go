package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Source is a configuration file's content and where it stood.
type Source struct {
	Name string // the file's name as faults show it
	Data []byte // YAML or JSON, UTF-8; Parse neither keeps nor changes it
	Dir  string // absolute; relative paths in the file are relative to it
}

// maxSize bounds the file: 50,000 offers take about 13 MB.
const maxSize = 128 << 20

// Parse reads a configuration strictly, fills in defaults and validates it. The
// error, if any, is a Faults with every mistake of the file in it. Mistakes in
// YAML's own syntax hide what is behind them, so such a fault comes alone.
func Parse(src Source) (*Catalog, error) {
	faults := &faultList{file: src.Name}
	root := load(src.Data, faults)
	if root == nil {
		return nil, faults.sorted()
	}
	d := newDecoder(src, faults)
	d.file(root)
	if fs := faults.sorted(); len(fs) > 0 {
		return nil, fs
	}
	d.finish(root)
	return d.cat, nil
}

// load returns the one document's content, or nil after adding a fault.
func load(data []byte, faults *faultList) *yaml.Node {
	first := pos{1, 1}
	switch {
	case len(data) > maxSize:
		faults.add(first, "", fmt.Sprintf("has %d bytes: the limit is %d", len(data), maxSize), "")
		return nil
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		faults.add(first, "", "is UTF-16: save it as UTF-8", "")
		return nil
	}
	root, second, err := documents(data)
	if isSyntax(err) {
		if respelled, ok := respell(data); ok {
			root, second, err = documents(respelled)
		} else if shielded, ok := shield(data); ok {
			if root, second, err = documents(shielded); err == nil {
				unshield(root)
			}
		}
	}
	switch {
	case isSyntax(err):
		at, message := explain(data, err)
		faults.add(at, "", "not valid YAML: "+message, "")
	case err != nil || isNull(root):
		faults.add(first, "", "is empty", "")
	case second != nil:
		at := pos{second.Line, second.Column}
		faults.add(at, "", "a second YAML document begins here: a configuration is one document", "")
	default:
		return root
	}
	return nil
}

func isSyntax(err error) bool { return err != nil && !errors.Is(err, io.EOF) }

// documents reads a document and, if there is another, that. The error is io.EOF
// if there is none.
func documents(data []byte) (root, second *yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if root, err = next(dec); err != nil {
		return nil, nil, err
	}
	if second, err = next(dec); isSyntax(err) {
		return nil, nil, err
	}
	return root, second, nil
}

// Inside { } and [ ], YAML ends an unquoted $ before {, so that `{api_key: ${KEY}}`
// is a syntax error, though it is what everyone writes. A file with an error is
// read again with two characters for private use in place of the braces of
// references, and has the same positions then.
const shieldOpen, shieldClose = "\ue000", "\ue001"

func shield(data []byte) ([]byte, bool) {
	if bytes.Contains(data, []byte(shieldOpen)) || bytes.Contains(data, []byte(shieldClose)) || !envReference.Match(data) {
		return nil, false
	}
	return envReference.ReplaceAll(data, []byte("$$"+shieldOpen+"${1}"+shieldClose)), true
}

var unshielded = strings.NewReplacer(shieldOpen, "{", shieldClose, "}")

func unshield(n *yaml.Node) {
	n.Value = unshielded.Replace(n.Value)
	for _, c := range n.Content {
		unshield(c)
	}
}

// next reads one document's content. A parser that panics on an operator's file
// must not take the process down (SEC-6).
func next(dec *yaml.Decoder) (content *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: the parser gave up on this file")
		}
	}()
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 {
		return nil, io.EOF
	}
	return doc.Content[0], nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// explain turns a syntax error of the YAML parser into a position and a message
// that shows none of the file's content.
func explain(data []byte, err error) (pos, string) {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil {
		return pos{1, 1}, "unknown problem"
	}
	line, _ := strconv.Atoi(m[1])
	line = max(line, 1)
	problem := m[2]
	if name, ok := strings.CutPrefix(problem, "unknown anchor '"); ok {
		// The name might be an unquoted secret that begins with a *.
		name, _, _ = strings.Cut(name, "'")
		return find(data, "*"+name), "an alias (*) without an anchor (&) of that name before it: quote a value that begins with *"
	}
	if at, what, bad := badCharacter(data); bad {
		return at, what
	}
	if m[1] != "" && (strings.HasPrefix(problem, "did not find expected") || strings.HasPrefix(problem, "found undefined tag")) {
		line++ // the parser, unlike the scanner, counts its lines from 0
	}
	if strings.Contains(problem, "tab character") {
		line += tabBelow(data, line)
	}
	text := lineOf(data, line)
	indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
	at := pos{line, len(indent) + 1}
	if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
		return pos{line, tab + 1}, "a tab in the indentation: indent with spaces"
	}
	switch {
	case strings.HasPrefix(problem, "mapping values are not allowed"):
		problem += ": check the indentation, and quote values that contain ': '"
	case strings.HasPrefix(problem, "found character that cannot start any token"):
		problem += ": quote values that begin with @, ` or %"
	}
	return at, problem
}

// badCharacter finds the first byte that YAML does not allow in a text.
func badCharacter(data []byte) (pos, string, bool) {
	at := pos{1, 1}
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return at, fmt.Sprintf("byte 0x%02x is not UTF-8 text", data[i]), true
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return at, fmt.Sprintf("control character 0x%02x: this is not a text file", r), true
		case r == '\n':
			at = pos{at.line + 1, 0}
		}
		at.col++
		i += n
	}
	return pos{}, "", false
}

// tabBelow returns how many lines under a line there is one with a tab in its
// indentation: the parser names the line before it.
func tabBelow(data []byte, line int) int {
	for n := range 3 {
		text := lineOf(data, line+n)
		if strings.Contains(text[:len(text)-len(strings.TrimLeft(text, " \t"))], "\t") {
			return n
		}
	}
	return 0
}

// lineOf returns line n, counted from 1, without its line break; "" past the end.
func lineOf(data []byte, n int) string {
	for ; n > 1; n-- {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			return ""
		}
		data = data[i+1:]
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return strings.TrimSuffix(string(line), "\r")
}

// find returns the position of the first occurrence of s.
func find(data []byte, s string) pos {
	i := max(bytes.Index(data, []byte(s)), 0)
	before := data[:i]
	start := bytes.LastIndexByte(before, '\n') + 1
	return pos{bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1}
}
