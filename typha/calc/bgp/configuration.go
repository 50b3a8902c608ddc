package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/maneki-net/maneki/api/effects"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// configuration is a BGPConfiguration, and what of it is written in another form there.
type configuration struct {
	*v3.BGPConfigurationSpec
	meshRestart    *uint32                 // NodeMeshMaxRestartTime in seconds; nil: not set
	meshPassword   *bool                   // true if NodeMeshPassword names a Secret, else nil
	advertisements []wire.BGPAdvertisement // PrefixAdvertisements
}

// SetConfiguration adds or changes a BGPConfiguration. The error says what of it has no effect; the rest is applied.
func (r *Resolver) SetConfiguration(o *v3.BGPConfiguration) error {
	c, reasons := configurationOf(&o.Spec)
	r.configurations[o.Name] = c
	r.configurationChanged(o.Name)
	return joined(append(reasons, withoutEffect(o)...))
}

// DeleteConfiguration removes a BGPConfiguration.
func (r *Resolver) DeleteConfiguration(name string) {
	delete(r.configurations, name)
	r.configurationChanged(name)
}

func (r *Resolver) configurationChanged(name string) {
	node, is := strings.CutPrefix(name, ofNode)
	if !is {
		r.allChanged = true
		return
	}
	r.changed[node] = struct{}{}
	if n := r.nodes[node]; n != nil {
		r.farEndsChanged(n) // its AS number and port
	}
}

// configurationOf returns what of a BGPConfiguration can be applied, and why the rest cannot.
func configurationOf(spec *v3.BGPConfigurationSpec) (*configuration, []string) {
	c := &configuration{BGPConfigurationSpec: spec}
	var reasons []string
	restart, err := seconds(spec.NodeMeshMaxRestartTime)
	switch {
	case err != nil:
		reasons = append(reasons, "spec.nodeMeshMaxRestartTime: "+err.Error())
	case spec.NodeMeshMaxRestartTime != "":
		c.meshRestart = &restart
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

// withoutEffect returns one sentence for each setting of a resource that has no effect.
func withoutEffect(o runtime.Object) []string {
	var reasons []string
	for _, f := range effects.Of(o) {
		reasons = append(reasons, f.String())
	}
	return reasons
}

// joined returns the reasons as one error, or nil if there are none.
func joined(reasons []string) error {
	if len(reasons) == 0 {
		return nil
	}
	return errors.New(strings.Join(reasons, "; "))
}

// needsPassword reports whether a password is configured. The password itself is not known, because nothing reads
// Secrets.
func needsPassword(p *v3.BGPPassword) bool { return p != nil && p.SecretKeyRef != nil }

// advertisementsOf returns the prefix advertisements that can be used. The error names the first part that cannot.
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
				first = orFirst(first, "spec.prefixAdvertisements[%d].communities[%d]: "+
					"%q is neither a community such as 65001:100 nor the name of one", i, j, text)
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

// communityOf reads a community: two numbers of 16 bits (RFC 1997) or three of 32 (RFC 8092). It returns the community
// without leading zeros, so that equal communities are equal texts.
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
