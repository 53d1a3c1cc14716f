package admission

import (
	"encoding/binary"
	"hash/crc32"
)

// A record is
//
//	magic   2 bytes  F5 53
//	kind    1 byte
//	id      1 byte, its length
//	body    4 bytes, its length, little endian
//	crc     4 bytes, CRC-32C of kind, lengths, id and body
//	id, body
//
// F5 is no part of any UTF-8 text and ids and bodies are UTF-8, so nothing that a
// client writes can look like the beginning of a record.
const (
	magic0, magic1 = 0xF5, 0x53
	headSize       = 12
	maxID          = 255
	maxBody        = 1 << 20
)

type kind byte

const (
	kindAdmitted  kind = 'A' // the body is the quote
	kindSettled   kind = 'S' // the body is the event
	kindUnsettled kind = 'U' // the same, for want of news: news may still come
	kindDone      kind = 'D' // every sink has the event
	kindGhost     kind = 'G' // every sink has the unsettled event
)

// rank orders what is known of an id, whichever order records stand in: a later
// step outdoes an earlier one.
func (k kind) rank() int {
	switch k {
	case kindAdmitted:
		return 1
	case kindSettled, kindUnsettled:
		return 2
	case kindDone, kindGhost:
		return 3
	}
	return 0
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends a record to dst. id has at most maxID bytes, body maxBody.
func appendRecord[T string | []byte](dst []byte, k kind, id string, body T) []byte {
	start := len(dst)
	dst = append(dst, magic0, magic1, byte(k), byte(len(id)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, 0, 0, 0, 0)
	dst = append(append(dst, id...), body...)
	binary.LittleEndian.PutUint32(dst[start+8:], checksum(dst[start:]))
	return dst
}

func checksum(record []byte) uint32 {
	return crc32.Update(crc32.Checksum(record[2:8], castagnoli), castagnoli, record[headSize:])
}

// record is one that was read; id and body share the bytes it was read from.
type record struct {
	kind kind
	id   []byte
	body []byte
	off  int64 // of its first byte
	size int
}

// readRecord reads the record that data begins with.
func readRecord(data []byte) (r record, ok bool) {
	if len(data) < headSize || data[0] != magic0 || data[1] != magic1 || kind(data[2]).rank() == 0 {
		return r, false
	}
	n, body := int(data[3]), binary.LittleEndian.Uint32(data[4:])
	if body > maxBody || n == 0 {
		return r, false
	}
	r.size = headSize + n + int(body)
	if len(data) < r.size || binary.LittleEndian.Uint32(data[8:]) != checksum(data[:r.size]) {
		return r, false
	}
	r.kind, r.id, r.body = kind(data[2]), data[headSize:headSize+n], data[headSize+n:r.size]
	return r, true
}

// scan hands every whole record of data to f and returns how many bytes belong to
// none: a torn tail, or damage, behind which it goes on at the next whole record.
func scan(data []byte, f func(record)) (lost int) {
	for at := 0; at < len(data); {
		r, ok := readRecord(data[at:])
		if !ok {
			at++
			lost++
			continue
		}
		r.off = int64(at)
		f(r)
		at += r.size
	}
	return lost
}
