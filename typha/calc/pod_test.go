package calc

import "testing"

func TestUIDsSurvivePacking(t *testing.T) {
	for text, size := range map[string]int{
		"": 0, "u": 1, "0123456789abcdef": 17, "0123456789abcdef0": 17, "3f2b1c5e-0000-4000-8000-00000000002a": 16,
		"3F2B1C5E-0000-4000-8000-00000000002A": 36, "3f2b1c5e000040008000-00000000002a": 33,
		"d0c1ab9ae8a8f0d1d0c1ab9ae8a8f0d1": 32,
	} {
		if u := packUID(text); u.String() != text || len(u) != size {
			t.Errorf("%q becomes %q of %d octets, want %d", text, u.String(), len(u), size)
		}
	}
}
