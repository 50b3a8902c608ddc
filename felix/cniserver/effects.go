package cniserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/maneki-net/maneki/api/effects"
)

// dataplaneOptions choose a dataplane other than the kernel's. Pods would not be connected as the configuration asks,
// so it is refused.
const dataplaneOptions = "dataplane_options"

// keysWithoutEffect returns the keys of a network configuration that ask for what is missing, a sentence each.
func keysWithoutEffect(raw []byte) ([]string, error) {
	var given map[string]any
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, fmt.Errorf("network configuration is no JSON object: %w", err)
	}
	var keys []string
	for _, row := range effects.Rows(effects.CNIKey) {
		if row.On != "configuration" {
			continue
		}
		value := textAt(given, row.Name)
		if value == "false" || !row.Misses(value) {
			continue
		}
		if row.Name == dataplaneOptions {
			return nil, invalidConfig(row.Name, value, "must be absent: Felix programs the kernel itself")
		}
		keys = append(keys, fmt.Sprintf("CNI configuration: %s %q has no effect: %s", row.Name, value, row.Why))
	}
	return keys, nil
}

// textAt returns the value at a path of names with dots between, which can be within names, too. It is empty if there
// is none, or one that asks for nothing.
func textAt(given map[string]any, path string) string {
	for at := range len(path) + 1 {
		if at < len(path) && path[at] != '.' {
			continue
		}
		value := given[path[:at]]
		within, isObject := value.(map[string]any)
		switch {
		case value == nil:
		case at < len(path) && isObject:
			if text := textAt(within, path[at+1:]); text != "" {
				return text
			}
		case at == len(path) && (!isObject || len(within) > 0):
			if text, isText := value.(string); isText {
				return text
			}
			data, _ := json.Marshal(value) // it was decoded from JSON
			return string(data)
		}
	}
	return ""
}

// ineffective knows what of each network's configuration has no effect.
type ineffective struct {
	mu      sync.Mutex // guards network
	network map[string][]string
}

// note takes in what of a configuration has no effect, and tells the log and the agent when it is something else than
// before.
func (s *Server) note(c *config) {
	s.ineffective.mu.Lock()
	defer s.ineffective.mu.Unlock()
	if slices.Equal(s.ineffective.network[c.Name], c.withoutEffect) {
		return
	}
	if len(c.withoutEffect) > 0 {
		s.opts.Log.Warn("keys of the CNI configuration have no effect", "network", c.Name,
			"keys", strings.Join(c.withoutEffect, "; "))
	}
	if s.ineffective.network == nil {
		s.ineffective.network = map[string][]string{}
	}
	s.ineffective.network[c.Name] = c.withoutEffect
	var all []string
	for _, network := range slices.Sorted(maps.Keys(s.ineffective.network)) {
		all = append(all, s.ineffective.network[network]...)
	}
	s.opts.Endpoints.WithoutEffect(slices.Compact(all))
}
