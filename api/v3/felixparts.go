package v3

// BPFConntrackTimeouts are durations, or Auto for what the kernel uses.
type BPFConntrackTimeouts struct {
	// CreationGracePeriod counts before a new entry may be removed. Default 10s.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	CreationGracePeriod *string `json:"creationGracePeriod,omitempty"`
	// GenericTimeout counts for protocols other than TCP, UDP and ICMP. Default 10m.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	GenericTimeout *string `json:"genericTimeout,omitempty"`
	// ICMPTimeout counts for ICMP. Default 5s.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	ICMPTimeout *string `json:"icmpTimeout,omitempty"`
	// TCPEstablished counts for idle TCP connections. Default 1h.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	TCPEstablished *string `json:"tcpEstablished,omitempty"`
	// TCPFinsSeen counts for TCP connections that both sides have closed. Default Auto.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	TCPFinsSeen *string `json:"tcpFinsSeen,omitempty"`
	// TCPResetSeen counts for TCP connections that were reset. Default 40s.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	TCPResetSeen *string `json:"tcpResetSeen,omitempty"`
	// TCPSynSent counts for TCP connections without an answer. Default 20s.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	TCPSynSent *string `json:"tcpSynSent,omitempty"`
	// UDPTimeout counts for UDP. Default 60s.
	// +kubebuilder:validation:Pattern=`^(([0-9]*(\.[0-9]*)?(ms|s|h|m|us)+)+|Auto)$`
	UDPTimeout *string `json:"udpTimeout,omitempty"`
}

// ProtoPort is a port that stays open.
type ProtoPort struct {
	// Net restricts the port to peers in this network; absent means any.
	Net string `json:"net,omitempty"`
	// Port is the port.
	// +required
	Port int `json:"port"`
	// Protocol is TCP or UDP. Absent means TCP.
	Protocol string `json:"protocol,omitempty"`
}

// HealthTimeoutOverride is the time after which one part of Felix counts as hung.
type HealthTimeoutOverride struct {
	// Name is the part of Felix, as its log names it.
	// +required
	Name string `json:"name"`
	// Timeout is the time, for example 60s.
	// +required
	Timeout string `json:"timeout"`
}

// RouteTableRange are route tables from min to max.
type RouteTableRange struct {
	// Max is the last table.
	// +required
	Max int `json:"max"`
	// Min is the first table.
	// +required
	Min int `json:"min"`
}

// RouteTableIDRange are route tables from min to max.
//
// +kubebuilder:validation:XValidation:rule="self.min >= 1",fieldPath=".min",message="must be at least 1"
// +kubebuilder:validation:XValidation:rule="self.min <= self.max",fieldPath=".max",message="must not be less than min"
type RouteTableIDRange struct {
	// Max is the last table.
	// +required
	Max int `json:"max"`
	// Min is the first table.
	// +required
	Min int `json:"min"`
}
