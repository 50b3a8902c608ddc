// Package config holds Felix's settings: one table, from which the environment, the file,
// the FelixConfiguration resources and the documentation are read and written.
//
// It is pure but for ReadFile. A Config is a value that is not changed once it was resolved; the
// agent resolves a new one whenever a source changes.
package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/maneki-net/maneki/api/effects"
)

// Config is the settings that act, by the names of Calico's. Table says what each means.
type Config struct {
	DatastoreType string
	FelixHostname string

	EtcdEndpoints, EtcdCAFile, EtcdCertFile, EtcdKeyFile string

	TyphaAddr, TyphaK8sServiceName, TyphaK8sNamespace string
	TyphaCAFile, TyphaCertFile, TyphaKeyFile          string
	TyphaCN, TyphaURISAN, TyphaTokenFile              string
	TyphaReadTimeout                                  time.Duration

	LogSeverityScreen string
	LogPrefix         string

	HealthEnabled bool
	HealthHost    string
	HealthPort    uint16

	PrometheusMetricsEnabled                                    bool
	PrometheusMetricsHost                                       string
	PrometheusMetricsPort                                       uint16
	PrometheusGoMetricsEnabled, PrometheusProcessMetricsEnabled bool

	GoGCThreshold, GoMaxProcs, GoMemoryLimitMB int
	DataplaneWatchdogTimeout                   time.Duration

	Ipv6Support                                            bool
	IPForwarding                                           string
	InterfacePrefix                                        Prefixes
	DefaultEndpointToHostAction                            string
	FailsafeInboundHostPorts, FailsafeOutboundHostPorts    ProtoPorts
	IptablesBackend                                        string
	IptablesFilterAllowAction, IptablesFilterDenyAction    string
	IptablesMarkMask                                       uint32
	IptablesNATOutgoingInterfaceFilter                     string
	KubeNodePortRanges                                     PortRanges
	IptablesRefreshInterval                                time.Duration
	IpsetsRefreshInterval, RouteRefreshInterval            time.Duration
	InterfaceRefreshInterval                               time.Duration
	DisableConntrackInvalidCheck                           bool
	WorkloadSourceSpoofing                                 string
	MaxIpsetSize                                           int
	NATOutgoingAddress                                     netip.Addr
	NATOutgoingExclusions                                  string
	DeviceRouteProtocol                                    int
	DeviceRouteSourceAddress, DeviceRouteSourceAddressIPv6 netip.Addr
	BGPMaxPrefixes                                         int
	ProgramClusterRoutes                                   string
	MTUIfacePattern                                        string
	VXLANMTU, VXLANMTUV6, VXLANVNI                         int
	VXLANPort                                              uint16
}

// Source is one origin of settings: their names, in any case, and texts.
type Source struct {
	Name   string // for messages: "environment"
	Values map[string]string
	// Resource marks a FelixConfiguration, which cannot hold settings that are local to a node's process.
	Resource bool
	// Fallback marks a source that applies only where no other source has a value, whatever its place among them.
	Fallback bool
}

// Resolve makes a Config of sources, the most important first. The Config is usable also when the error is not nil:
// a value that cannot be used counts as not given, and the error names each and says what may be written.
func Resolve(sources ...Source) (*Config, error) {
	sources = ordered(sources)
	c := &Config{}
	var problems []string
	given := make([]map[string]string, len(sources))
	for i, source := range sources {
		given[i] = map[string]string{}
		for name, value := range source.Values {
			key := strings.ToLower(name)
			given[i][key] = value
			if problem := unknown(key, source); problem != "" {
				problems = append(problems, fmt.Sprintf("%s of %s: %s", name, source.Name, problem))
			}
		}
	}
	for _, s := range Table {
		if err := s.set(c, s.Default); err != nil {
			panic(fmt.Sprintf("default of %s: %v", s.Name, err)) // the table is a constant
		}
		for i, source := range sources {
			value, ok := given[i][strings.ToLower(s.Name)]
			if !ok || source.Resource && s.Local {
				continue
			}
			if err := s.set(c, value); err != nil {
				problems = append(problems, fmt.Sprintf("%s of %s: %q cannot be used: %v", s.Name, source.Name, value,
					err))
				continue
			}
			break
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return c, fmt.Errorf("settings: %s", strings.Join(problems, "; "))
	}
	return c, nil
}

// ordered returns the sources with the fallbacks last.
func ordered(sources []Source) []Source {
	isFallback := func(s Source) bool { return s.Fallback }
	rest := slices.DeleteFunc(slices.Clone(sources), isFallback)
	for _, s := range sources {
		if isFallback(s) {
			rest = append(rest, s)
		}
	}
	return rest
}

func unknown(key string, source Source) string {
	i := slices.IndexFunc(Table, func(s Setting) bool { return strings.ToLower(s.Name) == key })
	_, known := effects.Lookup(effects.Setting, "", key)
	switch {
	case i >= 0 && Table[i].Local && source.Resource:
		return "it can be set in the environment or the configuration file only"
	case i < 0 && !known:
		return "there is no such setting"
	}
	return ""
}

// Hidden returns the fields of FelixConfigurations that have no effect because the process's environment or file has
// another value, each with the value that applies.
func Hidden(sources ...Source) []string {
	var hidden []string
	for _, s := range Table {
		var winner *Source
		var holds any
		for _, source := range ordered(sources) {
			text, value, given := s.valueIn(source)
			switch {
			case !given || source.Resource && s.Local || source.Fallback:
			case winner == nil:
				winner, holds = &source, value
			case source.Resource && !winner.Resource && value != holds:
				hidden = append(hidden, fmt.Sprintf("%s: %s %q does not hold on this node: %s says %v",
					source.Name, s.Field(), text, winner.Name, holds))
			}
		}
	}
	return hidden
}

// Given is a setting that a source gives, with the value that applies.
type Given struct {
	Setting string `json:"setting"`
	Value   string `json:"value"`
	From    string `json:"from"` // the source's name
}

// GivenBy returns which settings the sources give, in the order of Table.
func GivenBy(sources ...Source) []Given {
	var all []Given
	for _, s := range Table {
		for _, source := range ordered(sources) {
			text, _, given := s.valueIn(source)
			if given && !(source.Resource && s.Local) {
				all = append(all, Given{Setting: s.Name, Value: text, From: source.Name})
				break
			}
		}
	}
	return all
}

// NeedsRestart reports whether two Configs differ in what is read once, at the start of the process.
func NeedsRestart(a, b *Config) bool {
	return slices.ContainsFunc(Table, func(s Setting) bool { return s.AtStart && s.get(a) != s.get(b) })
}

// Environment returns the settings of environment variables, each as "NAME=value": those that begin with FELIX_,
// in any case.
func Environment(environ []string) Source {
	return Source{Name: "the environment", Values: withPrefix("FELIX_", environ)}
}

// Defaults returns the settings of environment variables that begin with FELIXDEFAULT_, in upper or lower case. They
// apply where neither a FelixConfiguration nor another source has a value. With them, an installation sets defaults
// that users may change in the resource.
func Defaults(environ []string) Source {
	return Source{Name: "the defaults of the installation", Values: withPrefix("FELIXDEFAULT_", environ),
		Fallback: true}
}

func withPrefix(prefix string, environ []string) map[string]string {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			values[name[len(prefix):]] = value
		}
	}
	return values
}
