package calc

import (
	"encoding/binary"
	"slices"
)

// labels are a map packed into one string, without pointers: each name and value with its length before it,
// sorted by name.
type labels string

func pack(m map[string]string) labels { return packPrefixed(m, "") }

// packPrefixed packs a map with a prefix before each name.
func packPrefixed(m map[string]string, prefix string) labels {
	if len(m) == 0 {
		return ""
	}
	size := 0
	var room [16]string
	names := room[:0]
	for k, v := range m {
		names = append(names, k)
		size += len(prefix) + len(k) + len(v) + 4
	}
	out := make([]byte, 0, size)
	slices.Sort(names)
	for _, k := range names {
		out = binary.AppendUvarint(out, uint64(len(prefix)+len(k)))
		out = append(append(out, prefix...), k...)
		out = binary.AppendUvarint(out, uint64(len(m[k])))
		out = append(out, m[k]...)
	}
	return labels(out)
}

// next cuts the first label off.
func (l labels) next() (name, value string, rest labels) {
	name, l = l.field()
	value, l = l.field()
	return name, value, l
}

func (l labels) field() (string, labels) {
	length, at := int(l[0]), 1
	if length >= 0x80 {
		length = 0
		for shift := 0; ; shift += 7 {
			c := l[at-1]
			length |= int(c&0x7f) << shift
			if c < 0x80 {
				break
			}
			at++
		}
	}
	return string(l[at : at+length]), l[at+length:]
}

// Get implements selector.Labels.
func (l labels) Get(name string) (string, bool) {
	for len(l) > 0 {
		var n, v string
		if n, v, l = l.next(); n == name {
			return v, true
		}
	}
	return "", false
}

// packPorts packs named ports likewise: a sorted list without repetitions.
func packPorts(list []namedPort) string {
	slices.SortFunc(list, compareNamedPorts)
	var out []byte
	for _, p := range slices.Compact(list) {
		out = append(out, p.protocol, byte(p.port>>8), byte(p.port))
		out = binary.AppendUvarint(out, uint64(len(p.name)))
		out = append(out, p.name...)
	}
	return string(out)
}

// eachPort passes the numbers of the packed ports that have a name and a protocol.
func eachPort(packed, name string, protocol uint8, visit func(port uint16)) {
	for len(packed) > 0 {
		p, port := packed[0], uint16(packed[1])<<8|uint16(packed[2])
		n, rest := labels(packed[3:]).field()
		if n == name && p == protocol {
			visit(port)
		}
		packed = string(rest)
	}
}
