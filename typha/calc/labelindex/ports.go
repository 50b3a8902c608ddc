package labelindex

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// Port is a named port of an item.
type Port struct {
	Name     string
	Protocol uint8 // IANA number
	Number   uint16
}

// Ports are named ports packed into one string: sorted, each once. Equal strings are equal sets of ports.
type Ports string

// PackPorts packs named ports. It sorts the list.
func PackPorts(list []Port) Ports {
	slices.SortFunc(list, func(a, b Port) int {
		return cmp.Or(strings.Compare(a.Name, b.Name),
			cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	var out []byte
	for _, p := range slices.Compact(list) {
		out = append(out, p.Protocol, byte(p.Number>>8), byte(p.Number))
		out = binary.AppendUvarint(out, uint64(len(p.Name)))
		out = append(out, p.Name...)
	}
	return Ports(out)
}

// Named calls visit with the number of each port that has a name and a protocol.
func (p Ports) Named(name string, protocol uint8, visit func(number uint16)) {
	for packed := string(p); len(packed) > 0; {
		itsProtocol, number := packed[0], uint16(packed[1])<<8|uint16(packed[2])
		var itsName string
		itsName, packed = cutText(packed[3:])
		if itsName == name && itsProtocol == protocol {
			visit(number)
		}
	}
}
