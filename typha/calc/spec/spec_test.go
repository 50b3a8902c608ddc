package spec

import (
	"testing"

	"github.com/maneki-net/maneki/api/selector"
)

func parse(t *testing.T, text string) *selector.Selector {
	t.Helper()
	s, err := selector.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOneMeaningHasOneName compares every pair of sets: equal meaning means an equal key and an equal name, and no two
// meanings share either.
func TestOneMeaningHasOneName(t *testing.T) {
	same := func(scope Scope, namespace string) []Selector {
		return []Selector{
			{scope, namespace, parse(t, "a == 'x' && b in {'y', 'z'}")},
			{scope, namespace, parse(t, `a=="x" && b in { "z","y" }`)},
		}
	}
	var meanings [][]Set // the sets in one list mean the same
	for _, scope := range []Scope{Any, Pods, Nodes} {
		for _, namespace := range []string{"", "shop", "a == 'x'"} {
			var networks, ports, protocols, names []Set
			for _, s := range same(scope, namespace) {
				networks = append(networks, Networks(s))
				ports = append(ports, NamedPorts(s, "http", 6))
				protocols = append(protocols, NamedPorts(s, "http", 17))
				names = append(names, NamedPorts(s, "https", 6))
			}
			all := Networks(Selector{scope, namespace, selector.All()})
			meanings = append(meanings, networks, ports, protocols, names, []Set{all})
		}
	}
	db := Service{"shop", "db"}
	meanings = append(meanings, []Set{Endpoints(db, false), Endpoints(Service{"shop", "db"}, false)},
		[]Set{Endpoints(db, true)},
		[]Set{Endpoints(Service{"db", "shop"}, true)}, []Set{Endpoints(Service{"shop", "db2"}, false)})
	names, keys := map[string]int{}, map[SetKey]int{}
	for i, sets := range meanings {
		for _, s := range sets {
			if other, taken := names[s.Hash()]; taken && other != i {
				t.Errorf("%+v and %+v are both named %s", meanings[other][0], s, s.Hash())
			}
			if other, taken := keys[s.Key()]; taken && other != i {
				t.Errorf("%+v and %+v have the same key", meanings[other][0], s)
			}
			names[s.Hash()], keys[s.Key()] = i, i
			if (s.Hash()[0] == 'n') != s.HasPorts() {
				t.Errorf("%+v is named %s", s, s.Hash())
			}
		}
	}
	if len(names) != len(meanings) || len(keys) != len(meanings) {
		t.Errorf("%d meanings have %d names and %d keys", len(meanings), len(names), len(keys))
	}
}

// TestNamesStay holds the names: a Typha of another version must give a set the same name, so that nodes keep the set
// when they change over to it.
func TestNamesStay(t *testing.T) {
	shop := Selector{Any, "shop", parse(t, "role == 'db'")}
	for _, test := range []struct {
		set  Set
		want string
	}{
		{Networks(shop), "s:ZppFXRMcVm6KadvxUbm6_w"},
		{NamedPorts(shop, "http", 6), "n:lNNkBHM8ayv-UCmSePBpUw"},
		{Endpoints(Service{"shop", "db"}, false), "s:rIv8Uy65E-nxeeCiXh2B9A"},
		{Endpoints(Service{"shop", "db"}, true), "n:rIv8Uy65E-nxeeCiXh2B9A"},
	} {
		if got := test.set.Hash(); got != test.want {
			t.Errorf("%+v is named %s, want %s", test.set, got, test.want)
		}
	}
}

func TestTermsOfNoExpression(t *testing.T) {
	if n := (Selector{}).Terms(); n != 0 {
		t.Errorf("%d terms, want 0", n)
	}
	if n := (Selector{Expression: parse(t, "a == 'x' && has(b)")}).Terms(); n != 2 {
		t.Errorf("%d terms, want 2", n)
	}
}
