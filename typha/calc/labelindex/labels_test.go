package labelindex

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// TestLabelsSurvivePacking takes lengths of one and of several bytes.
func TestLabelsSurvivePacking(t *testing.T) {
	d := newDictionary()
	many := map[string]string{}
	for n := range 20_000 {
		many[fmt.Sprint("label", n)] = fmt.Sprint(n)
	}
	for _, m := range []map[string]string{
		nil, many,
		{"": ""},
		{"app": "shop", "tier": "", "env": "prod"},
		{strings.Repeat("k", 127): strings.Repeat("v", 128), strings.Repeat("k", 316): strings.Repeat("v", 20_000),
			"z": "last"},
	} {
		l, got := d.pack("pcns.", m), map[string]string{}
		for rest := l.entries(); len(rest) > 0; {
			var number uint32
			var value string
			number, value, rest = rest.next()
			got[strings.TrimPrefix(d.names[number].text, "pcns.")] = value
		}
		if !maps.Equal(got, m) {
			t.Errorf("%.40v becomes %.40v", m, got)
		}
		for name, want := range m {
			if value, ok := l.get(d.numbers["pcns."+name]); !ok || value != want {
				t.Errorf("label %.40q: %.40q, %v", name, value, ok)
			}
		}
		if _, ok := l.get(uint32(len(d.names))); ok {
			t.Error("a label that is not there")
		}
		if again := d.pack("pcns.", maps.Clone(m)); again != l {
			t.Errorf("%.40v packed again differs", m)
		}
		d.release(l)
		if len(m) > 0 && len(d.numbers) != len(m) {
			t.Errorf("of %.40v, which is still in use, %d names are left", m, len(d.numbers))
		}
		d.release(l)
		if len(d.numbers) != 0 || len(d.free) != len(d.names) {
			t.Errorf("names that nothing has are left: %v", d.numbers)
		}
	}
}

func TestNumbersOfLabelNamesAreUsedAgain(t *testing.T) {
	d := newDictionary()
	kept := d.pack("", map[string]string{"a": "1", "z": "2"})
	for n := range 1000 {
		d.release(d.pack("", map[string]string{fmt.Sprint("b", n): "x", "a": "3"}))
	}
	if len(d.names) > 3 {
		t.Errorf("there are %d numbers for at most 3 names at a time", len(d.names))
	}
	if v, ok := kept.get(d.numbers["z"]); !ok || v != "2" {
		t.Errorf("z is %q, %v", v, ok)
	}
}

func TestNamedPortsSurvivePacking(t *testing.T) {
	packed := PackPorts([]Port{{"web", 6, 8080}, {"dns", 17, 53}, {"web", 6, 80}, {"dns", 17, 53}, {"web", 132, 1}})
	var got []uint16
	packed.Named("web", 6, func(port uint16) { got = append(got, port) })
	if len(got) != 2 || got[0] != 80 || got[1] != 8080 {
		t.Errorf("the ports of web are %v", got)
	}
	if again := PackPorts([]Port{{"web", 132, 1}, {"web", 6, 80}, {"dns", 17, 53}, {"web", 6, 8080}}); again != packed {
		t.Error("the order decides")
	}
}

// BenchmarkLabelOfMany finds one of the few labels that most objects have, and of the most that an object can have.
func BenchmarkLabelOfMany(b *testing.B) {
	for _, n := range []int{4, 16, 20_000} {
		d, m := newDictionary(), map[string]string{}
		for i := range n {
			m[fmt.Sprint("label", i)] = "x"
		}
		l := d.pack("", m)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, ok := l.get(uint32(n / 2)); !ok {
					b.Fatal("a label is missing")
				}
			}
		})
	}
}
