package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/api/effects"
)

// Missing is what settings without effect ask for, a sentence each.
type Missing struct {
	Protection []string // of those that ask for protection
	Others     []string
}

// MissingOf returns what settings without effect ask for. Of sources that give the same setting, the most important one
// counts.
func MissingOf(sources ...Source) Missing {
	var m Missing
	decided := map[string]bool{} // settings that a more important source sets
	for _, source := range ordered(sources) {
		for _, name := range slices.Sorted(maps.Keys(source.Values)) {
			key := strings.ToLower(name)
			if decided[key] || source.Values[name] == "" {
				continue
			}
			decided[key] = true
			found, missing := effects.ForSetting(name, source.Values[name])
			switch {
			case !missing:
			case found.Protects:
				m.Protection = append(m.Protection, sentence(source, found)+
					": do not rely on that protection, and remove the setting")
			default:
				m.Others = append(m.Others, sentence(source, found))
			}
		}
	}
	return m
}

func sentence(source Source, found effects.Finding) string {
	name := found.Name
	if source.Resource {
		name = found.On // the field
	}
	yet := ""
	if found.State == effects.Later {
		yet = " yet"
	}
	return fmt.Sprintf("%s: %s %q has no effect%s: %s", source.Name, name, found.Value, yet, found.Why)
}
