package cniserver

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/maneki-net/maneki/cni-plugin/protocol"
	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/typha/wire"
)

// config is what the server reads of the network configuration.
type config struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	MTU        int             `json:"mtu"`
	DNS        json.RawMessage `json:"dns"`
	IPAM       struct {
		Type       string   `json:"type"`
		AssignIPv4 *flag    `json:"assign_ipv4"`
		AssignIPv6 *flag    `json:"assign_ipv6"`
		IPv4Pools  []string `json:"ipv4_pools"`
		IPv6Pools  []string `json:"ipv6_pools"`
	} `json:"ipam"`
	// ValidAttachments is GC's list of what is to stay. It is nil when the configuration has none,
	// and "null", which runtimes write for an empty one, is none that is to stay.
	ValidAttachments json.RawMessage `json:"cni.dev/valid-attachments"`

	// withoutEffect are the keys that ask for what is missing, a sentence each.
	withoutEffect []string
}

// flag is a boolean that Calico's configurations write as a string.
type flag bool

// UnmarshalJSON reads true, false, "true" or "false".
func (f *flag) UnmarshalJSON(data []byte) error {
	value, err := strconv.ParseBool(strings.Trim(string(data), `"`))
	if err != nil {
		return fmt.Errorf("%s must be true or false", data)
	}
	*f = flag(value)
	return nil
}

func parseConfig(raw []byte) (*config, error) {
	c := &config{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, &protocol.Error{Code: protocol.CodeDecode, Msg: "network configuration cannot be read",
			Details: err.Error()}
	}
	if t := c.IPAM.Type; t != "" && t != "calico-ipam" {
		return nil, invalidConfig("ipam.type", t, `must be "calico-ipam" or absent: Felix itself assigns the addresses`)
	}
	if c.MTU != 0 && (c.MTU < 68 || c.MTU > 65535) {
		return nil, invalidConfig("mtu", strconv.Itoa(c.MTU), "must be from 68 to 65535, or 0 for the default")
	}
	var err error
	c.withoutEffect, err = keysWithoutEffect(raw)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func invalidConfig(field, value, want string) error {
	return &protocol.Error{Code: protocol.CodeInvalidConfig,
		Msg: fmt.Sprintf("%s %q of the network configuration is invalid", field, value), Details: want}
}

// podArgs is what the runtime says of the pod in CNI_ARGS.
type podArgs struct {
	Namespace, Pod, UID string
}

// parseArgs reads CNI_ARGS ("KEY=VALUE;…"); keys that it does not know are passed over.
func parseArgs(args string) (podArgs, error) {
	var pod podArgs
	for _, pair := range strings.Split(args, ";") {
		if pair == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return podArgs{}, invalidArgs(fmt.Sprintf("%q is not of the form KEY=VALUE", pair))
		}
		switch key {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = value
		case "K8S_POD_NAME":
			pod.Pod = value
		case "K8S_POD_UID":
			pod.UID = value
		}
	}
	if problems := validation.IsDNS1123Label(pod.Namespace); problems != nil {
		return podArgs{}, invalidArgs(fmt.Sprintf("K8S_POD_NAMESPACE=%q must be a namespace: %s", pod.Namespace,
			problems[0]))
	}
	if problems := validation.IsDNS1123Subdomain(pod.Pod); problems != nil {
		return podArgs{}, invalidArgs(fmt.Sprintf("K8S_POD_NAME=%q must be a pod's name: %s", pod.Pod, problems[0]))
	}
	return pod, nil
}

func invalidArgs(details string) error {
	return &protocol.Error{Code: protocol.CodeInvalidEnvironment, Msg: "environment variable CNI_ARGS is invalid",
		Details: details}
}

// addressRequest says which addresses a pod is to get: by annotation, else by the network
// configuration, else one of each family that has a pool and that the node speaks.
func addressRequest(c *config, annotations map[string]string, state State) (ipam.Request, error) {
	var addrs []string
	pools := map[ipam.Family][]string{ipam.IPv4: c.IPAM.IPv4Pools, ipam.IPv6: c.IPAM.IPv6Pools}
	for name, take := range map[string]func([]string){
		wire.AnnotationAddrs: func(items []string) { addrs = items },
		wire.AnnotationPool4: func(items []string) { pools[ipam.IPv4] = items },
		wire.AnnotationPool6: func(items []string) { pools[ipam.IPv6] = items },
	} {
		value, set := annotations[name]
		if !set {
			continue
		}
		var items []string
		if err := json.Unmarshal([]byte(value), &items); err != nil {
			return ipam.Request{}, invalidAnnotation(name, value,
				`must be a JSON list of strings, for example ["a", "b"]`)
		}
		take(items)
	}
	request, err := ipam.Request{Families: families(c, state)}, error(nil)
	if len(addrs) > 0 {
		request, err = fixedAddresses(annotations[wire.AnnotationAddrs], addrs)
	} else {
		err = restrictPools(&request, pools, state.Pools)
	}
	if err == nil && state.NoIPv6 && slices.Contains(request.Families, ipam.IPv6) {
		err = &protocol.Error{Code: protocol.CodeNoAddress,
			Msg: "the pod is to have an IPv6 address, and the node programs no IPv6",
			Details: "set ipv6Support of the FelixConfiguration, or ask for no IPv6 address (annotation " +
				wire.AnnotationAddrs + ", assign_ipv6)"}
	}
	return request, err
}

func fixedAddresses(value string, addrs []string) (ipam.Request, error) {
	invalid := invalidAnnotation(wire.AnnotationAddrs, value,
		"must be a JSON list of at most one IPv4 and one IPv6 address")
	var request ipam.Request
	for _, text := range addrs {
		addr, err := netip.ParseAddr(text)
		family := ipam.FamilyOf(addr)
		if err != nil || addr.Is4In6() || addr.Zone() != "" || slices.Contains(request.Families, family) {
			return ipam.Request{}, invalid
		}
		request.Addrs = append(request.Addrs, addr)
		request.Families = append(request.Families, family)
	}
	return request, nil
}

// families of a pod's addresses. With none to be had it is IPv4, whose assignment then fails with
// what is wrong with each pool.
func families(c *config, state State) []ipam.Family {
	var ipv4, ipv6 bool
	for _, pool := range state.Pools {
		ipv4 = ipv4 || usable(pool) && pool.CIDR.Addr().Is4()
		ipv6 = ipv6 || usable(pool) && pool.CIDR.Addr().Is6() && state.Host != nil && state.Host.IPv6.IsValid()
	}
	ipv6 = ipv6 && !state.NoIPv6
	ipv4 = ipv4 || !ipv6
	if f := c.IPAM.AssignIPv4; f != nil {
		ipv4 = bool(*f)
	}
	if f := c.IPAM.AssignIPv6; f != nil {
		ipv6 = bool(*f)
	}
	var families []ipam.Family
	if ipv4 {
		families = append(families, ipam.IPv4)
	}
	if ipv6 {
		families = append(families, ipam.IPv6)
	}
	return families
}

// usable reports whether a pod may get an address of the pool without asking for it.
func usable(p ipam.Pool) bool {
	return !p.Disabled && !p.Manual && (len(p.AllowedUses) == 0 || slices.Contains(p.AllowedUses, ipam.Workload))
}

// restrictPools limits a request to pools given by name or CIDR. A family without a list keeps the
// pools that it would have had.
func restrictPools(request *ipam.Request, lists map[ipam.Family][]string, pools []ipam.Pool) error {
	if len(lists[ipam.IPv4]) == 0 && len(lists[ipam.IPv6]) == 0 {
		return nil
	}
	for _, family := range request.Families {
		matched := len(lists[family]) == 0
		for _, pool := range pools {
			listed := slices.Contains(lists[family], pool.Name) || slices.Contains(lists[family], pool.CIDR.String())
			if ipam.FamilyOf(pool.CIDR.Addr()) == family && (listed || len(lists[family]) == 0 && usable(pool)) {
				request.Pools = append(request.Pools, pool.Name)
				matched = true
			}
		}
		if !matched {
			return &protocol.Error{Code: protocol.CodeNoAddress, Msg: fmt.Sprintf(
				"no %s pool has a name or CIDR that the pod asks for (%s)", family, strings.Join(lists[family], ", "))}
		}
	}
	return nil
}

func invalidAnnotation(name, value, want string) error {
	return &protocol.Error{Code: protocol.CodeInternal,
		Msg: fmt.Sprintf("annotation %s: %q is invalid", name, value), Details: want}
}
