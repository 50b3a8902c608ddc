package calc

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// bgpConfiguration is a BGPConfiguration in use.
type bgpConfiguration struct {
	*v3.BGPConfigurationSpec
	meshRestart    *uint32                 // NodeMeshMaxRestartTime in seconds; nil is not set
	meshPassword   *bool                   // true, or not set
	advertisements []wire.BGPAdvertisement // PrefixAdvertisements
}

func (e *Engine) upsertBGPConfiguration(o *v3.BGPConfiguration) {
	c, reasons := bgpConfigurationOf(&o.Spec)
	reasons = append(reasons, withoutEffect(o)...)
	e.problems.set(KindBGPConfiguration, "", o.Name, strings.Join(reasons, "; "))
	e.bgp.configurations[o.Name] = c
	e.dirtyBGP(o.Name)
}

func (e *Engine) deleteBGPConfiguration(name string) {
	delete(e.bgp.configurations, name)
	e.dirtyBGP(name)
}

func (e *Engine) dirtyBGP(configuration string) {
	if node, ok := strings.CutPrefix(configuration, "node."); ok {
		e.bgp.dirty[node] = struct{}{}
		e.dirtySessionsWith(e.hosts[node]) // its AS number and port
	} else {
		e.bgp.allDirty = true
	}
}

// bgpConfigurationOf returns what of a configuration is applied, and says what cannot be.
func bgpConfigurationOf(spec *v3.BGPConfigurationSpec) (*bgpConfiguration, []string) {
	c := &bgpConfiguration{BGPConfigurationSpec: spec}
	var reasons []string
	restart, err := seconds(spec.NodeMeshMaxRestartTime)
	switch {
	case err != nil:
		reasons = append(reasons, "spec.nodeMeshMaxRestartTime: "+err.Error())
	case spec.NodeMeshMaxRestartTime != "":
		whole := uint32(restart / time.Second)
		c.meshRestart = &whole
	}
	if needsPassword(spec.NodeMeshPassword) {
		needed := true
		c.meshPassword = &needed
	}
	c.advertisements, err = advertisementsOf(spec)
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	return c, reasons
}

// withoutEffect returns what an object sets that has no effect, one sentence each.
func withoutEffect(o runtime.Object) []string {
	var reasons []string
	for _, f := range effects.Of(o) {
		reasons = append(reasons, f.String())
	}
	return reasons
}

// needsPassword reports whether sessions are to have a password. None is known here: Secrets are not read.
func needsPassword(p *v3.BGPPassword) bool { return p != nil && p.SecretKeyRef != nil }

// advertisementsOf returns the usable part; the error names the first thing that is not.
func advertisementsOf(spec *v3.BGPConfigurationSpec) (out []wire.BGPAdvertisement, first error) {
	named := map[string]string{}
	for _, c := range spec.Communities {
		named[c.Name] = c.Value
	}
	for i, from := range spec.PrefixAdvertisements {
		cidr, err := netip.ParsePrefix(strings.TrimSpace(from.CIDR))
		if err != nil {
			first = orFirst(first, "spec.prefixAdvertisements[%d].cidr: %v", i, err)
			continue
		}
		to := wire.BGPAdvertisement{CIDR: cidr.Masked()}
		for j, text := range from.Communities {
			value, isName := named[text]
			if !isName {
				value = text
			}
			value, usable := communityOf(value)
			if !usable {
				first = orFirst(first, "spec.prefixAdvertisements[%d].communities[%d]: %q is neither a community such as 65001:100 nor the name of one", i, j, text)
				continue
			}
			to.Communities = append(to.Communities, value)
		}
		if len(to.Communities) > 0 {
			out = append(out, to)
		}
	}
	return out, first
}

func orFirst(first error, format string, args ...any) error {
	if first != nil {
		return first
	}
	return fmt.Errorf(format, args...)
}

// communityOf reads two numbers of 16 bits (RFC 1997) or three of 32 (RFC 8092), and returns the one way in which a
// community is written.
func communityOf(text string) (string, bool) {
	numbers := strings.Split(text, ":")
	bits := map[int]int{2: 16, 3: 32}[len(numbers)]
	if bits == 0 {
		return "", false
	}
	for i, number := range numbers {
		n, err := strconv.ParseUint(number, 10, bits)
		if err != nil {
			return "", false
		}
		numbers[i] = strconv.FormatUint(n, 10)
	}
	return strings.Join(numbers, ":"), true
}
