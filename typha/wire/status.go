package wire

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
	// Status is a v3.CalicoNodeStatusStatus as JSON, of MaxStatusAnswer octets at most. It is empty if the node reports
	// the same as before on the same stream.
	Status []byte `cbor:"1,keyasint,omitempty"`
	// Omitted is how many peers and routes Status lacks, because there are more than it may have.
	Omitted int `cbor:"2,keyasint,omitempty"`
}

// MaxStatusAnswer is how long the Status of a StatusAnswer may be, in octets.
const MaxStatusAnswer = 200 << 10
