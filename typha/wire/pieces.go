package wire

import (
	"bytes"
	"errors"
	"fmt"
)

// shortHash is how many octets of a piece's hash are enough to find it in another version of its set. That the
// right ones were found, the hash of the set proves.
const shortHash = 8

// SetPieces is an IP set for a receiver that holds an earlier version of it.
type SetPieces struct {
	Name   string     `cbor:"1,keyasint"`
	Type   SetType    `cbor:"2,keyasint"`
	Hash   Hash       `cbor:"3,keyasint"`
	Pieces []SetPiece `cbor:"4,keyasint,omitempty"`
}

// SetPiece is a piece that the receiver holds, or its members.
type SetPiece struct {
	Held    int    `cbor:"1,keyasint,omitempty"` // number of the piece among those held, from 1
	Members []byte `cbor:"2,keyasint,omitempty"` // encodings, one after the other
}

// PieceHashes returns the first 8 octets of the hash of each piece, one after the other; nil for a set of one piece.
func (p *PackedSet) PieceHashes() []byte {
	if len(p.pieces) < 2 {
		return nil
	}
	hashes := make([]byte, 0, shortHash*len(p.pieces))
	for _, piece := range p.pieces {
		hash := piece.content()
		hashes = append(hashes, hash[:shortHash]...)
	}
	return hashes
}

// Against returns the set for a receiver that holds the pieces with these hashes, and whether any is of use.
func (p *PackedSet) Against(held []byte) (*SetPieces, bool) {
	numbers := map[[shortHash]byte]int{}
	for i := 0; (i+1)*shortHash <= len(held); i++ {
		numbers[[shortHash]byte(held[i*shortHash:])] = i + 1
	}
	s, useful := &SetPieces{Name: p.Name, Type: p.Type, Hash: p.Hash()}, false
	for _, piece := range p.pieces {
		hash := piece.content()
		if number, ok := numbers[[shortHash]byte(hash[:])]; ok {
			s.Pieces, useful = append(s.Pieces, SetPiece{Held: number}), true
		} else {
			s.Pieces = append(s.Pieces, SetPiece{Members: piece.data})
		}
	}
	return s, useful
}

// Assemble makes the set, with the pieces of the version that is held.
func (s *SetPieces) Assemble(held *PackedSet) (*PackedSet, error) {
	p := &PackedSet{Name: s.Name, Type: s.Type}
	for _, part := range s.Pieces {
		made := &piece{data: bytes.Clone(part.Members)}
		switch {
		case part.Held > len(held.pieces) || part.Held < 0:
			return nil, fmt.Errorf("assemble set %s: there is no piece %d", s.Name, part.Held)
		case part.Held > 0:
			made = held.pieces[part.Held-1]
		default:
			for rest := made.data; len(rest) > 0; made.count++ {
				n, ok := checkMember(s.Type, rest)
				if !ok {
					return nil, fmt.Errorf("assemble set %s: %w", s.Name, errMember)
				}
				rest = rest[n:]
			}
		}
		p.pieces, p.count, p.size = append(p.pieces, made), p.count+made.count, p.size+len(made.data)
	}
	if p.Hash() != s.Hash {
		return nil, fmt.Errorf("assemble set %s: %w", s.Name, errAssembled)
	}
	return p, nil
}

var errAssembled = errors.New("the pieces are not those of the set")
