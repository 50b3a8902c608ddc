package owner

import (
	"encoding/hex"
	"strings"
)

// UID is the UID of a pod. Nearly always that is a UUID, which is stored as its 16 bytes. Any other UID is stored as
// its text, with a NUL after it if it has 16 bytes too.
type UID string

const uuidSize = 16

// PackUID returns the UID with a text.
func PackUID(text string) UID {
	if len(text) == len(uuidText{}) {
		var id [uuidSize]byte
		_, err := hex.Decode(id[:], []byte(text[:8]+text[9:13]+text[14:18]+text[19:23]+text[24:]))
		if canonical := textOf(id); err == nil && string(canonical[:]) == text {
			return UID(id[:])
		}
	}
	if len(text) == uuidSize {
		text += "\x00"
	}
	return UID(strings.Clone(text))
}

// String returns the text.
func (u UID) String() string {
	if len(u) != uuidSize {
		return strings.TrimSuffix(string(u), "\x00")
	}
	text := textOf([uuidSize]byte([]byte(u)))
	return string(text[:])
}

// uuidText is a UUID in its canonical form, 8-4-4-4-12 lower-case hexadecimal digits.
type uuidText [36]byte

func textOf(id [uuidSize]byte) (out uuidText) {
	from, to := id[:], out[:]
	for _, size := range [...]int{4, 2, 2, 2, 6} {
		hex.Encode(to, from[:size])
		from, to = from[size:], to[2*size:]
		if len(from) > 0 {
			to[0], to = '-', to[1:]
		}
	}
	return out
}
