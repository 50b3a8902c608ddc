// Package tunnel names the kinds of tunnels between nodes. IPAM, the stream, routing and the driver of tunnel devices
// use the same names. The package holds values alone and imports nothing.
package tunnel

import "fmt"

// Kind is a kind of tunnel. The numbers are part of the protocol between Typha and Felix.
type Kind uint8

// The kinds. What each of them needs to be supported is in docs/design/tunnels.md.
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
