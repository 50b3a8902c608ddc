package transport

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"google.golang.org/grpc/mem"

	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// ProtocolVersion is the version of the protocol that this release speaks. Either side
// accepts one version older or newer.
const ProtocolVersion = 1

// A gRPC message is a sequence (RFC 8742) of frames. A frame is an array of its type and its body. Receivers skip types
// that they do not know.
const (
	frameHello     = 1  // up, first: nodeHello
	frameReport    = 2  // up: wire.Report
	frameWelcome   = 3  // down, first: welcome
	frameObject    = 4  // down: objectBody
	frameDelete    = 5  // down: wire.ID
	frameCommit    = 6  // down: commitMark; what came since the last mark is one change
	frameSetDelta  = 7  // down: setDeltaBody; feature set-delta
	frameDeflate   = 8  // down: octets that are, inflated (RFC 1951), a sequence of frames; feature deflate
	framePing      = 9  // down, and back up unchanged: ping; feature ping
	frameSetPieces = 10 // down: wire.SetPieces; feature set-pieces
	frameToken     = 11 // up: tokenBody; if the welcome names featureToken
	frameObserve   = 12 // up, first of an observer: observeHello
	frameNode      = 13 // down: hub.NodeStatus
	frameGone      = 14 // down: the name of a node
	frameProblem   = 15 // down: problem
	frameObserved  = 16 // down: observedMark; what came since the last mark is one hub.Observed
	frameCluster   = 17 // down: wire.Cluster; feature cluster
	frameAnswer    = 18 // up: wire.StatusAnswer
	frameAnswered  = 19 // down: nodeAnswer
)

// messageSize is the size in octets at which a message to a client is sent, so that a snapshot is not buffered as a
// whole. A larger object is a message of its own.
const messageSize = 256 << 10

// The largest messages accepted, in octets. A hello names all that a node holds. An IP set of a million members is an
// object of about 25 MB.
const (
	maxUpMessage   = 16 << 20
	maxDownMessage = 256 << 20
	maxHeaders     = 64 << 10 // of a call; the token is the largest
)

// nodeAnswer is hub.NodeAnswer as it is sent.
type nodeAnswer struct {
	Node string `cbor:"1,keyasint"`
	// Answer is empty if it is the one that was sent before.
	Answer wire.StatusAnswer `cbor:"2,keyasint"`
	// AgeSeconds is how long ago the node said so.
	AgeSeconds float64 `cbor:"3,keyasint,omitempty"`
}

type frame struct {
	_    struct{} `cbor:",toarray"`
	Type int
	Body cbor.RawMessage
}

type welcome struct {
	Version  int      `cbor:"1,keyasint"`
	Features []string `cbor:"2,keyasint,omitempty"`
	// Datastore is that of the versions in the commits; see wire.Commit.
	Datastore string `cbor:"3,keyasint,omitempty"`
}

// featureToken is the server's feature of accepting a renewed token while a stream is open.
const featureToken = "token"

// nodeHello is hub.Hello as it is sent.
type nodeHello struct {
	hub.Hello
	// Version is the protocol version that the node speaks; see ProtocolVersion.
	Version int `cbor:"2,keyasint"`
}

type tokenBody struct {
	Token string `cbor:"1,keyasint"`
}

type observeHello struct {
	Version int `cbor:"1,keyasint"`
}

type observedMark struct {
	Whole bool `cbor:"1,keyasint,omitempty"`
}

// problem is calc.Problem as it is sent.
type problem struct {
	Kind      string `cbor:"1,keyasint"`
	Namespace string `cbor:"2,keyasint,omitempty"`
	Name      string `cbor:"3,keyasint"`
	Reason    string `cbor:"4,keyasint,omitempty"`
}

// objectBody carries the encoding from which the hash is made, as octets. A receiver can skip an object that it does
// not know, and need not encode an object to hash it.
type objectBody struct {
	Kind wire.Kind `cbor:"1,keyasint"`
	Data []byte    `cbor:"2,keyasint"`
}

// setDeltaBody changes an IP set that the receiver has, or that an object earlier in the same commit began.
type setDeltaBody struct {
	wire.SetDelta
	// Count is how many members the set has afterwards; 0 is not known.
	Count int `cbor:"6,keyasint,omitempty"`
}

type ping struct {
	Number uint64 `cbor:"1,keyasint"`
}

type commitMark struct {
	Number uint64 `cbor:"1,keyasint"`
	InSync bool   `cbor:"2,keyasint,omitempty"`
	// Versions holds only those that differ from the last mark of the stream.
	Versions map[string]string `cbor:"3,keyasint,omitempty"`
}

// frameOf returns the frame of an object. It is a hub.Framing.
func frameOf(kind wire.Kind, data []byte) ([]byte, error) {
	return encodeFrame(frameObject, objectBody{Kind: kind, Data: data})
}

// frameOfStep returns the frame of a change of an IP set.
func frameOfStep(delta wire.SetDelta, count int) ([]byte, error) {
	return encodeFrame(frameSetDelta, setDeltaBody{delta, count})
}

func encodeFrame(kind int, body any) ([]byte, error) {
	encoded, err := wire.Encode(body)
	if err != nil {
		return nil, err
	}
	return wire.Encode(frame{Type: kind, Body: encoded})
}

var frameDecoder = decoder(1<<22, 1<<20)

func decoder(maxElements, maxPairs int) cbor.DecMode {
	mode, err := cbor.DecOptions{MaxArrayElements: maxElements, MaxMapPairs: maxPairs}.DecMode()
	if err != nil {
		panic(err) // the callers' numbers are valid
	}
	return mode
}

// decodeFrames calls handle with each frame of a message.
func decodeFrames(message []byte, handle func(kind int, body []byte) error) error {
	for len(message) > 0 {
		var f frame
		rest, err := frameDecoder.UnmarshalFirst(message, &f)
		if err != nil {
			return fmt.Errorf("decode frame: %w", err)
		}
		if err := handle(f.Type, f.Body); err != nil {
			return err
		}
		message = rest
	}
	return nil
}

func decodeBody(body []byte, v any) error { return frameDecoder.Unmarshal(body, v) }

// Bounds for what a node sends, so that a decoded message does not take much more memory than its octets: an element of
// one octet could become a struct of 64.
const (
	leastHeld  = 24   // octets of a hub.HeldObject: heads, kind, name, hash
	maxUpShort = 1024 // elements and pairs of everything else
)

// decodeHello is decodeBody for a hello.
func decodeHello(body []byte, hello any) error {
	return decoder(max(maxUpShort, len(body)/leastHeld), maxUpShort).Unmarshal(body, hello)
}

var shortDecoder = decoder(maxUpShort, maxUpShort)

// decodeShort is decodeBody for what a node sends after its hello.
func decodeShort(body []byte, v any) error { return shortDecoder.Unmarshal(body, v) }

// rawCodec passes octets through gRPC. A message to send is a [][]byte, whose parts are not copied and must not change.
// A message to receive is a *[]byte.
type rawCodec struct{}

// Name is the content subtype.
func (rawCodec) Name() string { return "maneki-cbor-seq" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	parts, ok := v.([][]byte)
	if !ok {
		return nil, fmt.Errorf("marshal: %T is not [][]byte", v)
	}
	out := make(mem.BufferSlice, len(parts))
	for i, p := range parts {
		out[i] = mem.SliceBuffer(p)
	}
	return out, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	out, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal: %T is not *[]byte", v)
	}
	*out = data.Materialize()
	return nil
}
