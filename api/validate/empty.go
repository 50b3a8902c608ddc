package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostEmpty is the largest number of warnings about the empty selectors of one object.
const mostEmpty = 10

// EmptySelectors returns a warning for each selector in the decoded JSON of an object that is present and empty. Most
// empty selectors select everything, as absent ones do. The decoded JSON is needed because a Go value does not
// distinguish the two.
func EmptySelectors(content map[string]any) (warnings []string) {
	for _, path := range emptySelectors("spec", content["spec"]) {
		if len(warnings) == mostEmpty {
			break
		}
		warnings = append(warnings, fmt.Sprintf("%s: is empty, which is the same as none; "+
			"a text that begins with ! needs quotes in YAML: '!has(label)'", path))
	}
	return warnings
}

func emptySelectors(path string, value any) (paths []string) {
	switch v := value.(type) {
	case string:
		if v == "" && (strings.HasSuffix(path, "Selector") || strings.HasSuffix(path, ".selector")) {
			return []string{path}
		}
	case []any:
		for i, item := range v {
			paths = append(paths, emptySelectors(fmt.Sprintf("%s[%d]", path, i), item)...)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			paths = append(paths, emptySelectors(path+"."+name, v[name])...)
		}
	}
	return paths
}
