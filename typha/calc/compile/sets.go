package compile

import "github.com/maneki-net/maneki/typha/calc/spec"

// sets collects the sets that the rules of a policy name, each once, and names them.
type sets struct {
	list  []spec.Set
	names map[spec.SetKey]string
}

// add returns the name of a set, and adds the set if it is new.
func (s *sets) add(set spec.Set) string {
	key := set.Key()
	if name, known := s.names[key]; known {
		return name
	}
	if s.names == nil {
		s.names = map[spec.SetKey]string{}
	}
	set.Name = set.Hash()
	s.list, s.names[key] = append(s.list, set), set.Name
	return set.Name
}

// truncate removes all but the first n sets.
func (s *sets) truncate(n int) {
	for i := range s.list[n:] {
		delete(s.names, s.list[n+i].Key())
	}
	s.list = s.list[:n]
}
