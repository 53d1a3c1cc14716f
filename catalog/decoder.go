package catalog

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/shopspring/decimal"
	"go.yaml.in/yaml/v3"
)

// maxExpanded is how many values aliases may add to those that a file spells
// out: a page of nested aliases can stand for billions.
const maxExpanded = 1_000_000

// decoder turns a tree of YAML nodes into a Catalog. It goes on after a fault,
// so that all are found, and never follows what it does not understand.
type decoder struct {
	src Source
	cat *Catalog
	*faultList
	suggester
	prices   map[string]decimal.Decimal // by text: catalogs repeat few prices often
	literals map[*yaml.Node]Secret      // scalars with a literal secret in them
	visits   int                        // values that may still be read
	noProvs  bool                       // providers is missing or broken: no reference is checked
	noModels bool

	modelNames []string // once a model was not found
}

func newDecoder(src Source, faults *faultList) *decoder {
	return &decoder{
		src: src, cat: defaults(src.Dir), faultList: faults,
		prices:   make(map[string]decimal.Decimal),
		literals: make(map[*yaml.Node]Secret),
		visits:   len(src.Data) + maxExpanded,
	}
}

// path is where a mapping or a list stands. Scalars need none until they are
// wrong, which keeps large catalogs cheap.
type path struct {
	up    *path
	key   string
	index int // in a list, if >= 0
}

func (p *path) String() string {
	if p == nil || p.up == nil {
		return "" // the file itself
	}
	up := p.up.String()
	switch {
	case p.index >= 0:
		return up + "[" + strconv.Itoa(p.index) + "]"
	case !plainKey.MatchString(p.key):
		return up + "[" + quote(p.key) + "]"
	case up == "":
		return p.key
	}
	return up + "." + p.key
}

var plainKey = regexp.MustCompile(`^[\w./:@+-]{1,128}$`)

// quote shows a value of the file, cut if it is long.
func quote(s string) string {
	const longest = 64
	if utf8.RuneCountInString(s) > longest {
		s = string([]rune(s)[:longest]) + "…"
	}
	return strconv.Quote(s)
}

// value is one node of the tree and its place.
type value struct {
	*yaml.Node      // never an alias: what it stands for
	at, key    pos  // of the value, or the alias; of its key, if it has one
	place      path // its own
}

func (d *decoder) child(up *path, key string, index int, keyNode, node *yaml.Node) value {
	v := value{Node: node, at: pos{node.Line, node.Column}, place: path{up, key, index}}
	v.key = v.at
	if keyNode != nil {
		v.key = pos{keyNode.Line, keyNode.Column}
	}
	if node.Kind == yaml.AliasNode {
		v.Node = node.Alias // never an alias itself
	}
	return v
}

// fault adds a mistake in a value.
func (d *decoder) fault(v value, format string, args ...any) {
	d.faultNear(v, "", format, args...)
}

func (d *decoder) faultNear(v value, suggestion, format string, args ...any) {
	d.add(v.at, v.place.String(), fmt.Sprintf(format, args...), suggestion)
}

// faultKey adds a mistake in the key of a value, or in what is not there.
func (d *decoder) faultKey(v value, suggestion, format string, args ...any) {
	d.add(v.key, v.place.String(), fmt.Sprintf(format, args...), suggestion)
}

// visit counts a value and reports whether to read it.
func (d *decoder) visit(v value) bool {
	d.visits--
	if d.visits == 0 {
		d.fault(v, "aliases stand for more than %d values here: nothing behind it was checked", maxExpanded)
		d.closed = true
	}
	return d.visits > 0
}

// keys are the keys that a mapping may have.
type keys struct {
	names    []string
	index    map[string]int
	required uint64
	secret   bool // what stands in place of a key may be a secret: never show it
}

// newKeys takes the names; those that end in ! are required.
func newKeys(names ...string) *keys {
	ks := &keys{index: make(map[string]int)}
	for i, name := range names {
		name, required := strings.CutSuffix(name, "!")
		if required {
			ks.required |= 1 << i
		}
		ks.names = append(ks.names, name)
		ks.index[name] = i
	}
	return ks
}

// object calls field for each known key of a mapping that has a value; null
// counts as absent. It reports unknown, repeated and missing keys, and whether v
// is a mapping at all.
func (d *decoder) object(v value, ks *keys, field func(key string, v value)) bool {
	if !d.isA(v, yaml.MappingNode) {
		return false
	}
	up := &v.place
	var seen, present uint64
	whole := true
	for i := 0; i+1 < len(v.Content); i += 2 {
		key, ok := d.keyOf(v, v.Content[i])
		if !ok {
			whole = false // what is missing may stand in what cannot be read
			continue
		}
		index, known := ks.index[key]
		c := d.child(up, key, -1, v.Content[i], v.Content[i+1])
		switch {
		case !known:
			d.unknownKey(c, key, ks)
			continue
		case seen&(1<<index) != 0:
			d.faultKey(c, "", "is there twice")
			continue
		}
		seen |= 1 << index
		if !d.visit(c) {
			return true
		}
		if !isNull(c.Node) {
			present |= 1 << index
			field(key, c)
		}
	}
	for i, name := range ks.names {
		if whole && ks.required&^present&(1<<i) != 0 {
			missing := value{key: v.key, place: path{up, name, -1}}
			d.faultKey(missing, "", "is missing")
		}
	}
	return true
}

// unknownKey shows of the key only what cannot be a secret: `api_key:sk-…`
// without a space is one long key to YAML.
func (d *decoder) unknownKey(c value, key string, ks *keys) {
	up := c.place.up
	if ks.secret {
		d.add(c.key, up.String(), "unknown key: the only one is "+strings.Join(ks.names, " or "), "")
		return
	}
	shown, secret := key, false
	if i := strings.IndexFunc(key, func(r rune) bool { return !isKeyRune(r) }); i >= 0 {
		shown = key[:i]
	}
	for _, name := range ks.names {
		if secretKeys[name] && strings.HasPrefix(shown, name) {
			shown, secret = name, true
		}
	}
	near := d.nearest(key, ks.names)
	switch {
	case shown == key && (near != "" || !isNull(c.Node)):
		d.faultKey(c, near, "unknown key")
	case isNull(c.Node) && !secret: // `api_key, sk-…` in { }
		d.add(c.key, up.String(), "unknown key without a value: is a colon missing?", "")
	case strings.HasPrefix(key[len(shown):], ":"):
		d.add(c.key, up.String(), "unknown key that begins with "+quote(shown)+": write a space after the colon", "")
	default:
		d.add(c.key, up.String(), "unknown key that begins with "+quote(shown), "")
	}
}

func isKeyRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

// entries calls entry for each key of a mapping whose keys are the operator's.
func (d *decoder) entries(v value, entry func(key string, v value)) bool {
	if !d.isA(v, yaml.MappingNode) {
		return false
	}
	up := &v.place
	seen := make(map[string]struct{}, len(v.Content)/2)
	for i := 0; i+1 < len(v.Content); i += 2 {
		key, ok := d.keyOf(v, v.Content[i])
		if !ok {
			continue
		}
		c := d.child(up, key, -1, v.Content[i], v.Content[i+1])
		if _, twice := seen[key]; twice {
			d.faultKey(c, "", "is there twice")
			continue
		}
		seen[key] = struct{}{}
		if !d.visit(c) {
			return true
		}
		if isNull(c.Node) {
			// Not absent but a slip: `api_key:sk-…` without a space is such an entry
			// too, so its key is not shown.
			d.add(c.key, up.String(), "an entry without a value: remove it, or write a space after its colon", "")
			continue
		}
		entry(key, c)
	}
	return true
}

// items calls item for each element of a list.
func (d *decoder) items(v value, item func(v value)) bool {
	if !d.isA(v, yaml.SequenceNode) {
		return false
	}
	up := &v.place
	for i, n := range v.Content {
		c := d.child(up, "", i, nil, n)
		if !d.visit(c) {
			return true
		}
		if isNull(c.Node) {
			d.fault(c, "is empty")
			continue
		}
		item(c)
	}
	return true
}

// keyOf returns a mapping's key, which must be a string. A key that is not is not
// shown: after a slip of the pen it may be a secret.
func (d *decoder) keyOf(v value, n *yaml.Node) (string, bool) {
	at := pos{n.Line, n.Column}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Tag == "!!merge":
		d.add(at, v.place.String(), "merge keys (<<) are not supported: repeat the keys, or use an alias for a whole value", "")
	case n.Kind != yaml.ScalarNode || tagNames[n.Tag] == "":
		d.add(at, v.place.String(), "a key must be a string, not "+describe(n), "")
	case n.Tag != "!!str":
		d.add(at, v.place.String(), "a key must be a string, not "+describe(n)+": quote it", "")
	default:
		return n.Value, true
	}
	return "", false
}
