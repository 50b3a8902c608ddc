// Package encap names the kinds of encapsulation that carry packets between nodes. IPAM, the stream, routing and the
// driver of tunnel devices use the same names. The package holds values alone and imports nothing of this module.
package encap

import "fmt"

// Kind is a kind of encapsulation. The numbers are part of the protocol between Typha and Felix.
type Kind uint8

// The kinds. docs/design/tunnels.md says which of them Felix can program, and what is missing for the others.
const (
	VXLAN Kind = iota + 1
	IPIP
	WireGuard
)

// String returns the kind's name as Calico writes it in the handles of tunnel addresses: "vxlan".
func (k Kind) String() string {
	names := [...]string{VXLAN: "vxlan", IPIP: "ipip", WireGuard: "wireguard"}
	if k > 0 && int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
