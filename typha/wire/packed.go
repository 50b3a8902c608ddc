package wire

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sort"
	"sync"
)

// PackedSet is an IPSet as it is held and streamed: its members sorted in their encoding, in pieces. It is immutable;
// With makes another one that shares the pieces that did not change, which costs by the change and a little by the
// number of pieces. A member takes 6 octets for IPv4.
//
// Which member begins a piece follows from the member alone, so that equal sets have equal pieces, however they
// came about: Hash is the same in every replica, and most of it is known when a member changes.
type PackedSet struct {
	Name string
	Type SetType

	pieces      []*piece
	count, size int // of members, and of their encodings in octets
}

// piece is a run of members. Its first member is one that begins a piece, unless it is the set's first; no other is.
type piece struct {
	data  []byte
	count int
	once  sync.Once
	hash  Hash
}

func (p *piece) content() Hash {
	p.once.Do(func() { p.hash = HashOf(p.data) })
	return p.hash
}

// first returns the encoding of the piece's first member.
func (p *piece) first() []byte { return p.data[:memberLength(p.data)] }

// Pack makes a PackedSet out of the members of the set's type; they need not be sorted.
func Pack(s *IPSet) *PackedSet {
	empty := &PackedSet{Name: s.Name, Type: s.Type}
	return empty.with(encodeMembers(s.Type, s.Nets, s.Ports), nil)
}

// ID of the set.
func (p *PackedSet) ID() ID { return ID{KindIPSet, p.Name} }

// Len is the number of members.
func (p *PackedSet) Len() int { return p.count }

// Size is what the members take when they are encoded, in octets.
func (p *PackedSet) Size() int { return p.size }

// With returns the set after a change. A member that is added and there already, or removed and not there, changes
// nothing.
func (p *PackedSet) With(d *SetDelta) *PackedSet {
	return p.with(encodeMembers(p.Type, d.AddedNets, d.AddedPorts),
		encodeMembers(p.Type, d.RemovedNets, d.RemovedPorts))
}

// WithEncoded is With for the encoding of a SetDelta.
func (p *PackedSet) WithEncoded(data []byte) (*PackedSet, error) {
	var d struct {
		AddedNets    rawArray `cbor:"2,keyasint,omitempty"`
		RemovedNets  rawArray `cbor:"3,keyasint,omitempty"`
		AddedPorts   rawArray `cbor:"4,keyasint,omitempty"`
		RemovedPorts rawArray `cbor:"5,keyasint,omitempty"`
	}
	if err := decoder.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("decode change of set %s: %w", p.Name, err)
	}
	added, removed := d.AddedNets, d.RemovedNets
	if p.Type == SetPort {
		added, removed = d.AddedPorts, d.RemovedPorts
	}
	plus, err := added.members(p.Type)
	if err != nil {
		return nil, fmt.Errorf("decode change of set %s: %w", p.Name, err)
	}
	minus, err := removed.members(p.Type)
	if err != nil {
		return nil, fmt.Errorf("decode change of set %s: %w", p.Name, err)
	}
	return p.with(plus, minus), nil
}

// Nets goes through the members of a SetNet set, in order.
func (p *PackedSet) Nets() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for member := range p.members {
			if p.Type != SetPort && !yield(decodeNet(member)) {
				return
			}
		}
	}
}

// Ports goes through the members of a SetPort set, in order.
func (p *PackedSet) Ports() iter.Seq[PortMember] {
	return func(yield func(PortMember) bool) {
		for member := range p.members {
			if p.Type == SetPort && !yield(decodePort(member)) {
				return
			}
		}
	}
}

func (p *PackedSet) members(yield func([]byte) bool) {
	for _, piece := range p.pieces {
		for rest := piece.data; len(rest) > 0; {
			n := memberLength(rest)
			if !yield(rest[:n:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Unpack returns the set with its members as a list.
func (p *PackedSet) Unpack() *IPSet {
	return &IPSet{Name: p.Name, Type: p.Type, Nets: slices.Collect(p.Nets()), Ports: slices.Collect(p.Ports())}
}

// Hash identifies the content: the first 16 octets of the SHA-256 of the type, as one octet, and the hash of each
// piece's encodings.
func (p *PackedSet) Hash() Hash {
	sum := sha256.New()
	sum.Write([]byte{byte(p.Type)})
	for _, piece := range p.pieces {
		hash := piece.content()
		sum.Write(hash[:])
	}
	return Hash(sum.Sum(nil)[:16])
}

// MarshalCBOR implements cbor.Marshaler. The encoding is that of the IPSet.
func (p *PackedSet) MarshalCBOR() ([]byte, error) { return Encode(p.Unpack()) }

// Piece is a part of a set.
type Piece struct {
	Hash Hash // of its members
	set  *PackedSet
}

// Delta returns the change that adds the piece to the set.
func (p Piece) Delta() SetDelta {
	return SetDelta{Name: p.set.Name, AddedNets: slices.Collect(p.set.Nets()),
		AddedPorts: slices.Collect(p.set.Ports())}
}

// Pieces returns the parts that the set is made of.
func (p *PackedSet) Pieces() iter.Seq[Piece] {
	return func(yield func(Piece) bool) {
		for i, piece := range p.pieces {
			part := &PackedSet{Name: p.Name, Type: p.Type, pieces: p.pieces[i : i+1]}
			if !yield(Piece{Hash: piece.content(), set: part}) {
				return
			}
		}
	}
}

// UnmarshalCBOR implements cbor.Unmarshaler: it reads the encoding of an IPSet.
func (p *PackedSet) UnmarshalCBOR(data []byte) error {
	var s struct {
		Name  string   `cbor:"1,keyasint"`
		Type  SetType  `cbor:"2,keyasint"`
		Nets  rawArray `cbor:"3,keyasint,omitempty"`
		Ports rawArray `cbor:"4,keyasint,omitempty"`
	}
	if err := decoder.Unmarshal(data, &s); err != nil {
		return err
	}
	list := s.Nets
	if s.Type == SetPort {
		list = s.Ports
	}
	members, err := list.members(s.Type)
	if err != nil {
		return err
	}
	*p = *(&PackedSet{Name: s.Name, Type: s.Type}).with(members, nil)
	return nil
}

// with merges sorted encodings in and out.
func (p *PackedSet) with(added, removed [][]byte) *PackedSet {
	b := packer{pieces: make([]*piece, 0, len(p.pieces)+1+len(added)/meanPiece)}
	rest := p.pieces
	for len(added)+len(removed) > 0 {
		next := smaller(added, removed)
		// The piece that it belongs to is the last that begins with it or before it.
		i := max(0, sort.Search(len(rest), func(i int) bool { return bytes.Compare(rest[i].first(), next) > 0 })-1)
		b.reuse(rest[:i])
		rest = rest[i:]
		current := &piece{}
		if len(rest) > 0 {
			current, rest = rest[0], rest[1:]
		}
		var plus, minus [][]byte
		plus, added = before(added, rest)
		minus, removed = before(removed, rest)
		b.merge(current.data, current.count, plus, minus)
	}
	b.reuse(rest)
	b.close()
	q := &PackedSet{Name: p.Name, Type: p.Type, pieces: b.pieces}
	for _, piece := range q.pieces {
		q.count += piece.count
		q.size += len(piece.data)
	}
	return q
}

func smaller(a, b [][]byte) []byte {
	if len(a) == 0 || len(b) > 0 && bytes.Compare(b[0], a[0]) < 0 {
		return b[0]
	}
	return a[0]
}

// before splits off the members that come before the next piece.
func before(members [][]byte, rest []*piece) (now, later [][]byte) {
	if len(rest) == 0 {
		return members, nil
	}
	n, _ := slices.BinarySearchFunc(members, rest[0].first(), bytes.Compare)
	return members[:n], members[n:]
}
