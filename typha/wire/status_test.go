package wire

import (
	"bytes"
	"testing"
)

// TestPackedStatus: a status is the same after it was packed, and what would take much memory is refused.
func TestPackedStatus(t *testing.T) {
	for size, fits := range map[int]bool{0: true, 1000: true, MaxStatusAnswer: true, MaxStatusAnswer + 1: false,
		50 << 20: false} {
		text := bytes.Repeat([]byte("r"), size)
		packed, err := PackStatus(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := UnpackStatus(packed); (err == nil) != fits || fits && !bytes.Equal(got, text) {
			t.Errorf("%d octets: %d, error %v", size, len(got), err)
		}
	}
	if _, err := UnpackStatus([]byte{0xff}); err == nil {
		t.Error("what is not deflated is taken")
	}
}
