package compile

import (
	"strconv"
	"testing"

	"github.com/maneki-net/maneki/typha/calc/spec"
)

// TestManySets adds and removes so many sets that a search of all of them for each one would not end.
func TestManySets(t *testing.T) {
	const many = 200_000
	var all sets
	for i := range many {
		all.add(spec.NamedPorts(spec.All(spec.Pods), strconv.Itoa(i), 6))
	}
	all.truncate(1)
	all.add(all.list[0])
	if len(all.list) != 1 || len(all.names) != 1 {
		t.Errorf("there are %d sets and %d names, want 1", len(all.list), len(all.names))
	}
}
