package wire

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var (
	encoder = must(cbor.EncOptions{Sort: cbor.SortCoreDeterministic, TextMarshaler: cbor.TextMarshalerNone}.EncMode())
	decoder = must(cbor.DecOptions{MaxArrayElements: 1 << 24, MaxMapPairs: 1 << 20}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants
	}
	return v
}

// Hash identifies an object's content: the first 16 octets of the SHA-256 of its encoding, or, for an IP
// set, what PackedSet.Hash says.
type Hash [16]byte

// Encode returns the canonical encoding of an object, or of any value made of this package's types.
func Encode(v any) ([]byte, error) { return encoder.Marshal(v) }

// HashOf returns the hash of an encoding.
func HashOf(encoded []byte) Hash {
	sum := sha256.Sum256(encoded)
	return Hash(sum[:16])
}

// ContentHash returns the hash of an object.
func ContentHash(o Object) (Hash, error) {
	switch o := o.(type) {
	case *PackedSet:
		return o.Hash(), nil
	case *IPSet:
		return Pack(o).Hash(), nil
	}
	data, err := Encode(o)
	if err != nil {
		return Hash{}, fmt.Errorf("encode %s: %w", o.ID(), err)
	}
	return HashOf(data), nil
}

// Decode reads what Encode wrote into the value that v points to.
func Decode(data []byte, v any) error { return decoder.Unmarshal(data, v) }

// ErrUnknownKind says that an object is of a kind that this release does not know.
var ErrUnknownKind = errors.New("unknown kind")

// DecodeObject reads an object of a kind. An unknown kind is an error that the receiver
// of a stream from a newer release passes over.
func DecodeObject(kind Kind, data []byte) (Object, error) {
	var o Object
	switch kind {
	case KindConfig:
		o = &Config{}
	case KindPool:
		o = &Pool{}
	case KindHost:
		o = &Host{}
	case KindTunnelEndpoint:
		o = &TunnelEndpoint{}
	case KindRoute:
		o = &Route{}
	case KindBGP:
		o = &BGP{}
	case KindIPSet:
		o = &IPSet{}
	case KindPolicy:
		o = &Policy{}
	case KindEndpoint:
		o = &Endpoint{}
	case KindHostEndpoint:
		o = &HostEndpoint{}
	case KindNode:
		o = &Node{}
	case KindIPAM:
		o = &IPAM{}
	case KindStatusRequest:
		o = &StatusRequest{}
	default:
		return nil, fmt.Errorf("decode object: %w %d", ErrUnknownKind, kind)
	}
	if err := decoder.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return o, nil
}
