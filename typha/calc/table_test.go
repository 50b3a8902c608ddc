package calc

import (
	"slices"
	"strconv"
	"testing"

	"github.com/maneki-net/maneki/typha/calc/sets"
	"github.com/maneki-net/maneki/typha/calc/spec"
)

// TestNothingIsSoughtAmongAll makes so many of each of these that looking through all for each one would not end.
func TestNothingIsSoughtAmongAll(t *testing.T) {
	const many = 200_000
	var g group
	for i := range many {
		g.sets.add(&sets.Set{Content: spec.Content{Name: strconv.Itoa(i)}})
	}
	for _, set := range slices.Collect(g.sets.All) {
		g.sets.remove(set)
	}
}
