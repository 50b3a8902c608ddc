package felix

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/felix/journal"
	"github.com/maneki-net/maneki/felix/node"
	"github.com/maneki-net/maneki/felix/routing"
	"github.com/maneki-net/maneki/typha/wire"
)

// ResolveConfig resolves the settings as the agent will: the process's own, then the FelixConfigurations that the
// journal knows.
func ResolveConfig(local []config.Source, known journal.State, node string) (*config.Config, error) {
	configs := map[string]*wire.Config{}
	for _, object := range known.Objects {
		if c, ok := object.(*wire.Config); ok {
			configs[c.Name] = c
		}
	}
	return config.Resolve(sourcesOf(local, configs, node)...)
}

// FactsOf makes the facts of a node out of what the journal knows of it. Without its Host they are empty.
func FactsOf(kernel node.Interfaces, known journal.State, name string, mtu *regexp.Regexp) (node.Facts, error) {
	host, ok := known.Objects[wire.ID{Kind: wire.KindHost, Name: name}].(*wire.Host)
	if !ok {
		return node.Facts{Name: name}, nil
	}
	var addrs []netip.Addr
	for _, prefix := range []netip.Prefix{host.IPv4, host.IPv6} {
		if prefix.IsValid() {
			addrs = append(addrs, prefix.Addr())
		}
	}
	facts, err := node.Discover(kernel, name, addrs, mtu)
	if err != nil {
		return facts, err
	}
	for _, t := range routing.Tunnels {
		if end, ok := known.Objects[wire.TunnelEndpointID(name, t.Kind, uint8(t.Inner))].(*wire.TunnelEndpoint); ok {
			facts.Of(t.Inner).SetTunnel(t.Kind, end.Addr)
		}
	}
	return facts, nil
}

// sourcesOf returns the sources of settings, those of this process and of the stream, the most important first.
func sourcesOf(local []config.Source, configs map[string]*wire.Config, node string) []config.Source {
	sources := slices.Clone(local)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(configs)), func(name string) bool {
		return !strings.HasPrefix(name, wire.SelectedConfig)
	})
	for _, name := range append(append([]string{wire.NodeConfig(node)}, names...), wire.GlobalConfig) {
		if c := configs[name]; c != nil {
			resource := strings.TrimPrefix(name, wire.SelectedConfig)
			if name == wire.GlobalConfig {
				resource = "default"
			}
			sources = append(sources, config.Source{Name: "FelixConfiguration " + resource, Values: c.Values,
				Resource: true})
		}
	}
	return sources
}
