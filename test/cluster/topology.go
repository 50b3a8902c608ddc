package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const netnsDir = "/run/netns"

// Names of the namespaces that are not nodes.
const (
	routerName = "router"
	torName    = "tor"
)

func (r record) netnsName(part string) string { return r.Config.Name + "-" + part }

func (r record) netnsPath(part string) string {
	return filepath.Join(netnsDir, r.netnsName(part))
}

// netnsParts lists the namespaces of the cluster that exist on the machine.
func (r record) netnsParts() ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var parts []string
	for _, e := range entries {
		// No other cluster's name has the prefix: names hold no hyphen.
		if part, ok := strings.CutPrefix(e.Name(), r.Config.Name+"-"); ok && isPart(part) {
			parts = append(parts, part)
		}
	}
	return parts, nil
}

func isPart(s string) bool {
	number := strings.TrimPrefix(s, "node")
	return s == routerName || s == torName || number != s && number != "" && strings.Trim(number, "0123456789") == ""
}

func (r record) uplinkName() string { return fmt.Sprintf("mk%d-up", r.Index) }

// sysctls of every namespace. Reverse path filters are the business of what is tested,
// and duplicate address detection would keep addresses unusable for two seconds.
var sysctls = []struct{ path, value string }{
	{"net/ipv4/ip_forward", "1"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/default/rp_filter", "0"},
	{"net/ipv6/conf/all/forwarding", "1"},
	{"net/ipv6/conf/all/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_dad", "0"},
	{"net/ipv6/conf/all/accept_ra", "0"},
	{"net/ipv6/conf/default/accept_ra", "0"},
}

// bridgeFilters would run the router's frames through iptables: a switch does not.
// They exist where the kernel has br_netfilter.
var bridgeFilters = []string{
	"net/bridge/bridge-nf-call-iptables",
	"net/bridge/bridge-nf-call-ip6tables",
	"net/bridge/bridge-nf-call-arptables",
}

// buildTopology makes what is missing of namespaces, links, addresses and
// routes, and leaves the rest alone.
//
//	machine ──mkI-up── router ─┬─ subnet1 ─┬─ node1 …
//	                     │     └─ subnet2 ─┼─ node2 …
//	                     └──── outside ─── tor (and a leg in every subnet)
func buildTopology(r record, p Plan) error {
	router, err := openSpace(r, routerName)
	if err != nil {
		return err
	}
	defer router.close()
	for _, s := range p.Subnets {
		if err := router.bridge(s.Name, s.Router); err != nil {
			return fmt.Errorf("make %s: %w", s.Name, err)
		}
	}
	for _, key := range bridgeFilters {
		if err := router.sysctl(key, "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := buildUplink(r, p, router); err != nil {
		return fmt.Errorf("link the machine to the router: %w", err)
	}
	if err := buildTor(r, p, router); err != nil {
		return fmt.Errorf("make tor: %w", err)
	}
	for i := range p.Nodes {
		if err := buildNodeLink(r, p, i, router); err != nil {
			return fmt.Errorf("make network of %s: %w", p.Nodes[i].Name, err)
		}
	}
	if r.Config.CNI == CNIPtp {
		return routePodCIDRs(r, p, router)
	}
	return nil
}

func buildUplink(r record, p Plan, router *space) error {
	root, err := openMachine()
	if err != nil {
		return err
	}
	defer root.close()
	if err := router.veth("uplink", root, r.uplinkName(), p.Router, ""); err != nil {
		return err
	}
	link, err := root.configure(r.uplinkName(), p.Uplink)
	if err != nil {
		return err
	}
	for i, dst := range p.Range {
		if err := root.route(dst, p.Router[i].Addr(), link); err != nil {
			return err
		}
	}
	return nil
}

func buildTor(r record, p Plan, router *space) error {
	tor, err := openSpace(r, torName)
	if err != nil {
		return err
	}
	defer tor.close()
	if err := tor.veth("eth0", router, "outside", p.Outside, ""); err != nil {
		return err
	}
	if _, err := router.configure("outside", p.OutsideRouter); err != nil {
		return err
	}
	if err := tor.defaultRoutes("eth0", p.OutsideRouter); err != nil {
		return err
	}
	for i, s := range p.Subnets {
		if err := tor.veth(fmt.Sprintf("rack%d", i+1), router, fmt.Sprintf("tor%d", i+1), s.Tor, s.Name); err != nil {
			return err
		}
	}
	return nil
}

func buildNodeLink(r record, p Plan, i int, router *space) error {
	n := p.Nodes[i]
	node, err := openSpace(r, n.Name)
	if err != nil {
		return err
	}
	defer node.close()
	subnet := p.Subnets[n.Subnet]
	if err := node.veth("eth0", router, n.Name, n.Addrs, subnet.Name); err != nil {
		return err
	}
	return node.defaultRoutes("eth0", subnet.Router)
}

// routePodCIDRs makes every node's pods reachable from the other nodes and the
// router, for the plugin that does no routing itself.
func routePodCIDRs(r record, p Plan, router *space) error {
	for i := range p.Nodes {
		node, err := openSpace(r, p.Nodes[i].Name)
		if err != nil {
			return err
		}
		err = node.routeToPods(p, i)
		node.close()
		if err != nil {
			return err
		}
		link, err := router.LinkByName(p.Subnets[p.Nodes[i].Subnet].Name)
		if err != nil {
			return fmt.Errorf("find bridge: %w", err)
		}
		for f, cidr := range p.Nodes[i].PodCIDRs {
			if err := router.route(cidr, p.Nodes[i].Addrs[f].Addr(), link); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *space) routeToPods(p Plan, self int) error {
	link, err := s.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("find eth0 of %s: %w", s.name, err)
	}
	own := p.Nodes[self].Subnet
	for i, other := range p.Nodes {
		if i == self || other.Subnet != own {
			continue // the default route leads to other subnets
		}
		for f, cidr := range other.PodCIDRs {
			if err := s.route(cidr, other.Addrs[f].Addr(), link); err != nil {
				return err
			}
		}
	}
	return nil
}
