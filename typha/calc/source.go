package calc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"github.com/maneki-net/maneki/api/rule"
	"github.com/maneki-net/maneki/typha/calc/internal/compact"
	"github.com/maneki-net/maneki/typha/wire"
)

// allowedSources returns the networks that a pod's annotation lists. If a part of it cannot be read, it lists none.
func allowedSources(annotations map[string]string) ([]netip.Prefix, error) {
	text, ok := annotations[wire.AnnotationSources]
	if !ok {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal([]byte(text), &list)
	var sources []netip.Prefix
	if err == nil {
		sources, err = sourcesOf(list)
	}
	if err != nil {
		return nil, fmt.Errorf(`annotation %s: it must be a JSON list of networks such as ["10.0.0.0/24"], `+
			"so the pod may send from its own addresses alone: %w", wire.AnnotationSources, err)
	}
	return sources, nil
}

// sourcesOf reads a list of networks, all or none.
func sourcesOf(texts []string) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		var err error
		list[i], err = rule.ParseNet(text)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
	}
	return slices.Collect(compact.PackNetworks(list).All), nil
}
