package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Meant returns the name among candidates that is nearest to what was written, or "" when none is near. It
// serves messages alone.
func Meant(written string, candidates []string) string {
	best, least := "", max(2, len(written)/3)+1
	for _, candidate := range slices.Sorted(slices.Values(candidates)) {
		if d := distance(strings.ToLower(written), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	return best
}

func meant(written string, candidates []string) string {
	if name := Meant(written, candidates); name != "" {
		return fmt.Sprintf("; did you mean %s?", name)
	}
	return ""
}

// distance is the number of letters to insert, delete or replace to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

func keysOf[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func fieldNames[V any](m map[string]V) string {
	names := keysOf(m)
	if len(names) > 8 {
		names = append(names[:8], "…")
	}
	return strings.Join(names, ", ")
}
