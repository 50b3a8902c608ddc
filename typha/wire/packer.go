package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"net/netip"
	"slices"
	"sort"
)

// meanPiece is how many members a piece has in the mean.
const meanPiece = 512

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// beginsPiece reports whether a member begins a piece: if the product of 2654435761 and the CRC-32C (Castagnoli) of its
// encoding, modulo 2^32, is less than 2^32/meanPiece. A CRC alone is linear, and would cut dense ranges unevenly.
func beginsPiece(member []byte) bool {
	return crc32.Checksum(member, castagnoli)*2654435761 < 1<<32/meanPiece
}

// packer puts pieces together from left to right.
type packer struct {
	pieces []*piece
	open   []byte // of the piece that is being made; used again for the next
	count  int    // of its members
}

func (b *packer) close() {
	if b.count > 0 {
		b.pieces = append(b.pieces, &piece{data: slices.Clip(bytes.Clone(b.open)), count: b.count})
	}
	b.open, b.count = b.open[:0], 0
}

// reuse takes whole pieces over.
func (b *packer) reuse(pieces []*piece) {
	if len(pieces) > 0 {
		b.close()
		b.pieces = append(b.pieces, pieces...)
	}
}

// span appends members of which only the first may begin a piece.
func (b *packer) span(data []byte, count int) {
	if count == 0 {
		return
	}
	switch first := data[:memberLength(data)]; {
	case beginsPiece(first):
		b.close()
	case b.count == 0 && len(b.pieces) > 0: // what began its piece is gone: it goes on with the one before
		last := b.pieces[len(b.pieces)-1]
		b.pieces = b.pieces[:len(b.pieces)-1]
		b.open, b.count = append(b.open, last.data...), last.count
	}
	b.open, b.count = append(b.open, data...), b.count+count
}

// merge appends the members of one piece, with some added and removed.
func (b *packer) merge(data []byte, count int, added, removed [][]byte) {
	for len(added)+len(removed) > 0 {
		next := smaller(added, removed)
		octets, n := locate(data, count, next)
		b.span(data[:octets], n)
		data, count = data[octets:], count-n
		present := bytes.HasPrefix(data, next) // encodings delimit themselves
		plus := len(added) > 0 && bytes.Equal(added[0], next)
		if plus {
			added = added[1:]
		} else {
			removed = removed[1:]
		}
		switch {
		case present && !plus:
			data, count = data[len(next):], count-1
		case !present && plus:
			b.span(next, 1)
		}
	}
	b.span(data, count)
}

// locate returns how much of a piece comes before a member, in octets and members.
func locate(data []byte, count int, member []byte) (octets, n int) {
	if len(data) == net4Length*count { // no member is shorter: all are of this length
		n = sort.Search(count, func(i int) bool {
			return bytes.Compare(data[i*net4Length:(i+1)*net4Length],
				member) >= 0
		})
		return n * net4Length, n
	}
	for octets < len(data) {
		length := memberLength(data[octets:])
		if bytes.Compare(data[octets:octets+length], member) >= 0 {
			break
		}
		octets, n = octets+length, n+1
	}
	return octets, n
}

// What the encodings of members are made of (RFC 8949 section 3).
const (
	cborOctets = 0x40
	cborArray  = 0x80
	cborMap    = 0xa0

	net4Head, net6Head   = cborOctets | 5, cborOctets | 17 // the address and the prefix length
	addr4Head, addr6Head = cborOctets | 4, cborOctets | 16
	portHead             = cborMap | 3

	net4Length = 6
	net6Length = 18
)

// appendHead appends the head of a value whose length or number is n.
func appendHead(b []byte, major byte, n int) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
}

// encodeMembers returns the encodings of members of a type, sorted and without duplicates: IPv4 before IPv6, then by
// address, then by prefix length, or by protocol and port. BenchmarkEncodeMembers compares it with the CBOR library.
func encodeMembers(t SetType, nets []netip.Prefix, ports []PortMember) [][]byte {
	var buffer []byte
	var ends []int
	if t == SetPort {
		for _, p := range ports {
			buffer = append(buffer, portHead, 1)
			addr := p.Addr.AsSlice()
			buffer = append(appendHead(buffer, cborOctets, len(addr)), addr...)
			buffer = appendHead(append(buffer, 2), 0, int(p.Protocol))
			buffer = appendHead(append(buffer, 3), 0, int(p.Port))
			ends = append(ends, len(buffer))
		}
	} else {
		for _, n := range nets {
			addr := n.Addr().AsSlice()
			buffer = append(appendHead(buffer, cborOctets, len(addr)+1), addr...)
			buffer = append(buffer, byte(n.Bits()))
			ends = append(ends, len(buffer))
		}
	}
	members := make([][]byte, len(ends))
	start := 0
	for i, end := range ends {
		members[i], start = buffer[start:end:end], end
	}
	return sortMembers(members)
}

func sortMembers(members [][]byte) [][]byte {
	slices.SortFunc(members, bytes.Compare) // quick if they are sorted
	return slices.CompactFunc(members, bytes.Equal)
}

// memberLength returns the length of the encoding that data begins with, which has to be one.
func memberLength(data []byte) int {
	switch data[0] {
	case net4Head:
		return net4Length
	case net6Head:
		return net6Length
	}
	n := 2 + 1 + int(data[2]&0x1f) // the map's head, the key and the address
	n += 1 + numberLength(data[n+1:])
	return n + 1 + numberLength(data[n+1:])
}

func numberLength(data []byte) int {
	switch data[0] {
	case 24:
		return 2
	case 25:
		return 3
	}
	return 1
}

func number(data []byte) uint16 {
	switch data[0] {
	case 24:
		return uint16(data[1])
	case 25:
		return binary.BigEndian.Uint16(data[1:])
	}
	return uint16(data[0])
}

func decodeNet(member []byte) netip.Prefix {
	addr, _ := netip.AddrFromSlice(member[1 : len(member)-1])
	return netip.PrefixFrom(addr, int(member[len(member)-1]))
}

func decodePort(member []byte) PortMember {
	rest := member[2:]
	n := int(rest[0] & 0x1f)
	addr, _ := netip.AddrFromSlice(rest[1 : 1+n])
	rest = rest[2+n:]
	return PortMember{Addr: addr, Protocol: uint8(number(rest)), Port: number(rest[numberLength(rest)+1:])}
}

// rawArray is the encoding of a list of members.
type rawArray []byte

// UnmarshalCBOR implements cbor.Unmarshaler.
func (r *rawArray) UnmarshalCBOR(data []byte) error {
	*r = data
	return nil
}

var errMember = errors.New("not a list of members")

// members splits the list. What is not in the canonical form is decoded and encoded again.
func (r rawArray) members(t SetType) ([][]byte, error) {
	if len(r) == 0 {
		return nil, nil
	}
	if members, ok := r.canonical(t); ok {
		return sortMembers(members), nil
	}
	var nets []netip.Prefix
	var ports []PortMember
	var err error
	if t == SetPort {
		err = decoder.Unmarshal(r, &ports)
	} else {
		err = decoder.Unmarshal(r, &nets)
	}
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(nets, func(n netip.Prefix) bool { return !n.IsValid() }) ||
		slices.ContainsFunc(ports, func(p PortMember) bool { return !p.Addr.IsValid() }) {
		return nil, errMember
	}
	return encodeMembers(t, nets, ports), nil
}

// canonical splits a list whose members are encoded as encodeMembers does, and says whether it is one.
func (r rawArray) canonical(t SetType) ([][]byte, bool) {
	if r[0]&0xe0 != cborArray {
		return nil, false
	}
	head, count := 1, int(r[0]&0x1f)
	switch {
	case count == 24 && len(r) > 1:
		head, count = 2, int(r[1])
	case count == 25 && len(r) > 2:
		head, count = 3, int(binary.BigEndian.Uint16(r[1:]))
	case count == 26 && len(r) > 4:
		head, count = 5, int(binary.BigEndian.Uint32(r[1:]))
	case count >= 24:
		return nil, false
	}
	rest := r[head:]
	members := make([][]byte, 0, min(count, len(rest)/net4Length))
	for range count {
		n, ok := checkMember(t, rest)
		if !ok {
			return nil, false
		}
		members, rest = append(members, rest[:n:n]), rest[n:]
	}
	return members, len(rest) == 0
}

// checkMember returns the length of the member that data begins with, and says whether encodeMembers would write the
// same.
func checkMember(t SetType, data []byte) (int, bool) {
	if t == SetPort {
		return checkPort(data)
	}
	return checkNet(data)
}

func checkNet(data []byte) (int, bool) {
	switch {
	case len(data) >= net4Length && data[0] == net4Head:
		return net4Length, data[net4Length-1] <= 32
	case len(data) >= net6Length && data[0] == net6Head:
		return net6Length, data[net6Length-1] <= 128
	}
	return 0, false
}

func checkPort(data []byte) (int, bool) {
	const longest = 2 + 17 + 1 + 2 + 1 + 3
	if len(data) < 3 || data[0] != portHead || data[1] != 1 || data[2] != addr4Head && data[2] != addr6Head {
		return 0, false
	}
	padded := append(make([]byte, 0, longest), data[:min(len(data), longest)]...)[:longest]
	n := memberLength(padded)
	if n > len(data) {
		return 0, false
	}
	p := decodePort(padded[:n])
	again := encodeMembers(SetPort, nil, []PortMember{p})[0]
	return n, bytes.Equal(again, data[:n])
}
