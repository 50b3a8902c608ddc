package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// IPFamilies says which IP families a cluster's nodes, pods and Services use.
type IPFamilies string

// The families a cluster can have.
const (
	IPv4 IPFamilies = "ipv4"
	IPv6 IPFamilies = "ipv6"
	// Dual has both, with IPv4 first.
	Dual IPFamilies = "dual"
)

// CNI says what networks the pods.
type CNI string

// What Up can install.
const (
	// CNINone leaves it to the caller: nodes stay NotReady until a plugin is
	// installed, and have no pod CIDRs.
	CNINone CNI = "none"
	// CNIPtp is the reference ptp plugin with host-local addresses, one CIDR a
	// node, and static routes.
	CNIPtp CNI = "ptp"
)

// Limits of a Config.
const (
	MaxNodes   = 200
	MaxSubnets = 12
)

// Config describes a cluster. The zero value of a field means its default.
type Config struct {
	// Name tells clusters of a machine apart: up to 12 lower-case letters and
	// digits, starting with a letter. Default "dev".
	Name string
	// Nodes is the number of nodes, 1 to MaxNodes. Default 3. The first also runs the
	// control plane.
	Nodes int
	// Subnets is the number of layer-2 networks that the nodes are spread over,
	// in turn, 1 to MaxSubnets. Default 1.
	Subnets int
	// IP is the IP families. Default Dual.
	IP IPFamilies
	// CNI is the pod network. Default CNINone.
	CNI CNI
	// Root is the checkout that programs are built from and that state is kept
	// in. Default: the module that the working directory lies in.
	Root string `json:"-"`
	// Progress takes one line for every step. Default: nothing is written.
	Progress io.Writer `json:"-"`
}

var clusterName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// complete fills defaults in and says what is wrong with the rest.
func (c Config) complete() (Config, error) {
	if c.Name == "" {
		c.Name = "dev"
	}
	if c.Nodes == 0 {
		c.Nodes = 3
	}
	if c.Subnets == 0 {
		c.Subnets = 1
	}
	if c.IP == "" {
		c.IP = Dual
	}
	if c.CNI == "" {
		c.CNI = CNINone
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	if c.Root == "" {
		root, err := moduleRoot()
		if err != nil {
			return c, err
		}
		c.Root = root
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return c, fmt.Errorf("find checkout %s: %w", c.Root, err)
	}
	c.Root = root
	return c, c.validate()
}

func (c Config) validate() error {
	var errs []error
	if !clusterName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("cluster name %q: want up to 12 lower-case letters and digits, a letter first",
			c.Name))
	}
	if c.Nodes < 1 || c.Nodes > MaxNodes {
		errs = append(errs, fmt.Errorf("%d nodes: want 1 to %d", c.Nodes, MaxNodes))
	}
	if c.Subnets < 1 || c.Subnets > MaxSubnets {
		errs = append(errs, fmt.Errorf("%d subnets: want 1 to %d", c.Subnets, MaxSubnets))
	}
	if c.IP != IPv4 && c.IP != IPv6 && c.IP != Dual {
		errs = append(errs, fmt.Errorf("IP families %q: want %s, %s or %s", c.IP, IPv4, IPv6, Dual))
	}
	if c.CNI != CNINone && c.CNI != CNIPtp {
		errs = append(errs, fmt.Errorf("CNI %q: want %s or %s", c.CNI, CNINone, CNIPtp))
	}
	return errors.Join(errs...)
}

const modulePath = "github.com/maneki-net/maneki"

// moduleRoot finds the checkout around the working directory.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find working directory: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		body, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(body), "module "+modulePath+"\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of %s", start, modulePath)
		}
	}
}
