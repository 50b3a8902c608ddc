package calc

import (
	"maps"
	"strings"
	"testing"
)

// TestLabelsSurvivePacking takes lengths of one and of several bytes.
func TestLabelsSurvivePacking(t *testing.T) {
	for _, m := range []map[string]string{
		nil,
		{"": ""},
		{"app": "shop", "tier": "", "env": "prod"},
		{strings.Repeat("k", 127): strings.Repeat("v", 128), strings.Repeat("k", 316): strings.Repeat("v", 20_000), "z": "last"},
	} {
		l, got := packPrefixed(m, "pcns."), map[string]string{}
		for rest := l; len(rest) > 0; {
			var name, value string
			name, value, rest = rest.next()
			got[strings.TrimPrefix(name, "pcns.")] = value
		}
		if !maps.Equal(got, m) {
			t.Errorf("%.40v becomes %.40v", m, got)
		}
		for name, want := range m {
			if value, ok := l.Get("pcns." + name); !ok || value != want {
				t.Errorf("label %.40q: %.40q, %v", name, value, ok)
			}
		}
		if _, ok := l.Get("other"); ok {
			t.Error("a label that is not there")
		}
	}
}

func TestNamedPortsSurvivePacking(t *testing.T) {
	packed := packPorts([]namedPort{{"web", 6, 8080}, {"dns", 17, 53}, {"web", 6, 80}, {"dns", 17, 53}, {"web", 132, 1}})
	var got []uint16
	eachPort(packed, "web", 6, func(port uint16) { got = append(got, port) })
	if len(got) != 2 || got[0] != 80 || got[1] != 8080 {
		t.Errorf("the ports of web are %v", got)
	}
	if again := packPorts([]namedPort{{"web", 132, 1}, {"web", 6, 80}, {"dns", 17, 53}, {"web", 6, 8080}}); again != packed {
		t.Error("the order decides")
	}
}
