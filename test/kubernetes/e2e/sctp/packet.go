package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Types of chunks (RFC 9260, section 3.2), and the parameter that is a cookie.
const (
	initiation    = 1
	initiationAck = 2
	abort         = 6
	cookieEcho    = 10
	cookieAck     = 11
	stateCookie   = 7
)

const header = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A packet of one chunk.
type packet struct {
	from, to uint16
	// What its receiver has asked for; none for an INIT.
	tag   uint32
	chunk byte
	value []byte
}

func (p packet) bytes() []byte {
	length := 4 + len(p.value)
	b := make([]byte, header+(length+3)/4*4)
	binary.BigEndian.PutUint16(b, p.from)
	binary.BigEndian.PutUint16(b[2:], p.to)
	binary.BigEndian.PutUint32(b[4:], p.tag)
	b[header] = p.chunk
	binary.BigEndian.PutUint16(b[header+2:], uint16(length))
	copy(b[header+4:], p.value)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli))
	return b
}

func parse(b []byte) (p packet, err error) {
	if len(b) < header+4 {
		return p, errors.New("too short")
	}
	length := int(binary.BigEndian.Uint16(b[header+2:]))
	if length < 4 || header+length > len(b) {
		return p, errors.New("a chunk is cut off")
	}
	sum := binary.LittleEndian.Uint32(b[8:])
	copied := append([]byte(nil), b...)
	clear(copied[8:header])
	if crc32.Checksum(copied, castagnoli) != sum {
		return p, errors.New("another checksum")
	}
	return packet{
		from:  binary.BigEndian.Uint16(b),
		to:    binary.BigEndian.Uint16(b[2:]),
		tag:   binary.BigEndian.Uint32(b[4:]),
		chunk: b[header],
		value: copied[header+4 : header+length],
	}, nil
}

// The value of an INIT or INIT ACK: the tag that its sender wants, window, streams out and in, and the first
// TSN; then, in the latter, the cookie.
func initial(tag uint32, cookie []byte) []byte {
	v := binary.BigEndian.AppendUint32(nil, tag)
	v = binary.BigEndian.AppendUint32(v, 1<<16)
	v = append(v, 0, 1, 0, 1)
	v = binary.BigEndian.AppendUint32(v, tag)
	if cookie != nil {
		v = binary.BigEndian.AppendUint16(v, stateCookie)
		v = binary.BigEndian.AppendUint16(v, uint16(4+len(cookie)))
		v = append(v, cookie...)
	}
	return v
}

// The tag and the cookie of such a value; the cookie comes first, as `initial` writes it.
func readInitial(v []byte) (tag uint32, cookie []byte, err error) {
	if len(v) < 16 {
		return 0, nil, errors.New("an INIT is cut off")
	}
	if len(v) >= 20 && binary.BigEndian.Uint16(v[16:]) == stateCookie {
		cookie = v[20:]
	}
	return binary.BigEndian.Uint32(v), cookie, nil
}
