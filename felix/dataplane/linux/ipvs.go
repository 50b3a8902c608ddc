package linux

import "errors"

// errNoMarks is why a node takes no pods.
var errNoMarks = errors.New("kube-proxy is in IPVS mode, and iptablesMarkMask of the FelixConfiguration leaves no " +
	"bits for endpoints: without them policy could not be enforced on what goes to Services, which is dropped. " +
	"Give it more bits, for example 0xffff0000, or let kube-proxy use iptables or nftables")

// noticeIPVS is the notice in the node's status.
const noticeIPVS = "kube-proxy is in IPVS mode: policy knows what it forwards by marks of packets"
