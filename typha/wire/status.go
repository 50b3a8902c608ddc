package wire

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
)

// StatusRequest asks a node to report on itself, as CalicoNodeStatus resources ask for it. Of several the node is asked
// for all that one of them wants, as often as the most frequent wants it.
type StatusRequest struct {
	Node string `cbor:"1,keyasint"`
	// Agent, BGP and Routes are the classes that are asked for.
	Agent  bool `cbor:"2,keyasint,omitempty"`
	BGP    bool `cbor:"3,keyasint,omitempty"`
	Routes bool `cbor:"4,keyasint,omitempty"`
	// PeriodSeconds is how long after an answer the node answers again although nothing has changed; at least 1.
	PeriodSeconds uint32 `cbor:"5,keyasint"`
}

// ID of the request; a node has one at most.
func (r *StatusRequest) ID() ID { return ID{KindStatusRequest, r.Node} }

// StatusAnswer is what a node reports on itself when a StatusRequest asks it to.
type StatusAnswer struct {
	// Status is a v3.CalicoNodeStatusStatus as JSON, packed by PackStatus. It is empty if the node reports the same as
	// before on the same stream.
	Status []byte `cbor:"1,keyasint,omitempty"`
	// Omitted is how many peers and routes Status lacks, because there are more than it may have.
	Omitted int `cbor:"2,keyasint,omitempty"`
}

// MaxStatusAnswer is how long the status in a StatusAnswer may be, in octets, packed or not.
const MaxStatusAnswer = 200 << 10

// PackStatus deflates a status (RFC 1951): thousands of nodes may be asked, and routes have much in common.
func PackStatus(text []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("pack status: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("pack status: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack status: %w", err)
	}
	return packed.Bytes(), nil
}

// UnpackStatus is the reverse of PackStatus. What is too long is an error.
func UnpackStatus(packed []byte) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), MaxStatusAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("unpack status: %w", err)
	}
	if len(text) > MaxStatusAnswer {
		return nil, fmt.Errorf("unpack status: it has more than %d octets", MaxStatusAnswer)
	}
	return text, nil
}
