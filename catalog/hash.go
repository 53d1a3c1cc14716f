package catalog

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"go.yaml.in/yaml/v3"
)

// version names a configuration. Where no secret stands in the file itself, that
// is the SHA-256 of its bytes. Where one does, a hash of the bytes would let
// whoever sees it try out secrets: then it is the SHA-256 of the parsed tree
// (kinds, tags, values, anchors, in order; no comments, no spacing), with every
// literal part of a secret replaced by one zero byte.
func version(data []byte, root *yaml.Node, literals map[*yaml.Node]Secret) string {
	h := sha256.New()
	if len(literals) == 0 {
		h.Write(data)
	} else {
		hashNode(h, root, literals)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hashNode does not follow aliases: they stand for a node that is hashed where it
// stands.
func hashNode(h hash.Hash, n *yaml.Node, literals map[*yaml.Node]Secret) {
	text := n.Value
	if s, ok := literals[n]; ok {
		text, _ = s.literal()
	}
	b := binary.AppendUvarint(nil, uint64(n.Kind))
	for _, s := range []string{n.Tag, n.Anchor, text} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	h.Write(binary.AppendUvarint(b, uint64(len(n.Content))))
	for _, c := range n.Content {
		hashNode(h, c, literals)
	}
}
