package wire

// Cluster is how many there are in the cluster, for the metrics of the nodes.
type Cluster struct {
	Policies          int `cbor:"1,keyasint,omitempty"` // of all kinds, staged ones included
	Tiers             int `cbor:"2,keyasint,omitempty"`
	Profiles          int `cbor:"3,keyasint,omitempty"` // a namespace and a service account count as one each
	HostEndpoints     int `cbor:"4,keyasint,omitempty"` // on a node
	WorkloadEndpoints int `cbor:"5,keyasint,omitempty"` // on a node, in its pod network
}
