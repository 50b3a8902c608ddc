package daemon

import "github.com/maneki-net/maneki/api/effects"

// unusedVariables returns the rows of those of Calico's variables of calico-node that are set and have no effect.
func unusedVariables(getenv func(string) string) (unused []effects.Row) {
	for _, row := range effects.Rows(effects.Controller) {
		if row.On == "calico-node" && row.Misses(getenv(row.Name)) {
			unused = append(unused, row)
		}
	}
	return unused
}
