package labelindex

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"sort"
	"strings"
)

// labels are a map of labels, packed into one string without pointers. It begins with the number of labels. For each
// label follow the number of its name in a dictionary, the length of its value, and the value, sorted by the names'
// numbers. Kubernetes does not limit the number of labels. If there are more than fewLabels, an index precedes the
// labels: for each label the number of its name and its offset, in slotSize bytes.
type labels string

const (
	fewLabels = 16
	slotSize  = 8
)

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
	out := binary.AppendUvarint(d.packed[:0], uint64(len(list)))
	slots := len(out)
	if len(list) > fewLabels {
		out = append(out, make([]byte, slotSize*len(list))...)
	}
	begin := len(out)
	for i, l := range list {
		if len(list) > fewLabels {
			slot := out[slots+slotSize*i:]
			binary.BigEndian.PutUint32(slot, l.number)
			binary.BigEndian.PutUint32(slot[slotSize/2:], uint32(len(out)-begin))
		}
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
		n := len(d.free)
		if n > 0 {
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

// release gives packed labels up. Names that no other labels have are forgotten.
func (d *dictionary) release(l labels) {
	for rest := l.entries(); len(rest) > 0; {
		var number uint32
		number, _, rest = rest.next()
		name := &d.names[number]
		if name.users > 1 {
			name.users--
		} else {
			delete(d.numbers, name.text)
			*name = labelName{}
			d.free = append(d.free, number)
		}
	}
}

// entries are the packed labels, without the count and the index.
type entries string

func (l labels) entries() entries {
	_, _, all := l.open()
	return all
}

// open returns the parts of packed labels. slots is the index, empty if there are few labels.
func (l labels) open() (count int, slots string, all entries) {
	if l == "" {
		return 0, "", ""
	}
	n, rest := uvarint(string(l))
	count = int(n)
	if count > fewLabels {
		slots, rest = rest[:slotSize*count], rest[slotSize*count:]
	}
	return count, slots, entries(rest)
}

// next cuts the first label off.
func (l entries) next() (number uint32, value string, rest entries) {
	number, text := uvarint(string(l))
	value, text = cutText(text)
	return number, value, entries(text)
}

func (l labels) get(number uint32) (string, bool) {
	count, slots, all := l.open()
	if slots != "" {
		i := sort.Search(count, func(i int) bool { return fixed(slots[slotSize*i:]) >= number })
		if i == count {
			return "", false
		}
		all = all[fixed(slots[slotSize*i+slotSize/2:]):]
	}
	for len(all) > 0 {
		var n uint32
		var v string
		n, v, all = all.next()
		if n >= number {
			return v, n == number
		}
	}
	return "", false
}

// fixed decodes a number of four bytes.
func fixed(packed string) uint32 {
	return uint32(packed[0])<<24 | uint32(packed[1])<<16 | uint32(packed[2])<<8 | uint32(packed[3])
}

// cutText cuts a text off that has its length before it.
func cutText(packed string) (text, rest string) {
	length, packed := uvarint(packed)
	return packed[:length], packed[length:]
}

func uvarint(packed string) (n uint32, rest string) {
	for i, shift := 0, 0; ; i, shift = i+1, shift+7 {
		c := packed[i]
		n |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return n, packed[i+1:]
		}
	}
}

// each iterates over names and values, in the order of the names' numbers.
func (d *dictionary) each(l labels) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for rest := l.entries(); len(rest) > 0; {
			var number uint32
			var value string
			number, value, rest = rest.next()
			if !yield(d.names[number].text, value) {
				return
			}
		}
	}
}
