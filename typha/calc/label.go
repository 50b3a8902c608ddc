package calc

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// labels are a map packed into one string, without pointers: of each label the number of its name in a dictionary, and its
// value with its length before it; sorted by number.
type labels string

// dictionary numbers the names of labels that are in use: many labels have few names.
type dictionary struct {
	numbers map[string]uint32
	names   []labelName // by number
	free    []uint32
	scratch []numbered // room that calls share
	packed  []byte     // likewise
}

type labelName struct {
	text  string
	users int // labels that have the name
}

type numbered struct {
	number uint32
	value  string
}

func newDictionary() *dictionary { return &dictionary{numbers: map[string]uint32{}} }

// pack packs a map with a prefix before each name. Release the labels when they are no longer in use.
func (d *dictionary) pack(prefix string, m map[string]string) labels {
	if len(m) == 0 {
		return ""
	}
	list := d.scratch[:0]
	for name, value := range m {
		list = append(list, numbered{d.acquire(prefix, name), value})
	}
	slices.SortFunc(list, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	out := d.packed[:0]
	for _, l := range list {
		out = binary.AppendUvarint(out, uint64(l.number))
		out = binary.AppendUvarint(out, uint64(len(l.value)))
		out = append(out, l.value...)
	}
	clear(list)
	d.scratch, d.packed = list, out
	return labels(out)
}

func (d *dictionary) acquire(prefix, name string) uint32 {
	if prefix != "" {
		name = prefix + name
	}
	number, known := d.numbers[name]
	if !known {
		if n := len(d.free); n > 0 {
			number, d.free = d.free[n-1], d.free[:n-1]
		} else {
			number = uint32(len(d.names))
			d.names = append(d.names, labelName{})
		}
		name = strings.Clone(name)
		d.numbers[name], d.names[number].text = number, name
	}
	d.names[number].users++
	return number
}

// release lets go of names that nothing else has.
func (d *dictionary) release(l labels) {
	for len(l) > 0 {
		var number uint32
		number, _, l = l.next()
		if name := &d.names[number]; name.users > 1 {
			name.users--
		} else {
			delete(d.numbers, name.text)
			*name = labelName{}
			d.free = append(d.free, number)
		}
	}
}

// next cuts the first label off.
func (l labels) next() (number uint32, value string, rest labels) {
	number, text := uvarint(string(l))
	value, text = cutText(text)
	return number, value, labels(text)
}

func (l labels) get(number uint32) (string, bool) {
	for len(l) > 0 {
		var n uint32
		var v string
		if n, v, l = l.next(); n == number {
			return v, true
		}
	}
	return "", false
}

// cutText cuts a text off that has its length before it.
func cutText(packed string) (text, rest string) {
	length, packed := uvarint(packed)
	return packed[:length], packed[length:]
}

func uvarint(packed string) (n uint32, rest string) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		c := packed[i]
		if n |= uint32(c&0x7f) << shift; c < 0x80 {
			return n, packed[i+1:]
		}
	}
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
		var n string
		if n, packed = cutText(packed[3:]); n == name && p == protocol {
			visit(port)
		}
	}
}
