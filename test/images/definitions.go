package images

import "slices"

// Program is a static binary that goes into an image.
type Program struct {
	// Package is a main package of the product, such as "./cmd/felix", or
	// empty.
	Package string
	// Module and Name name a program of the module hack/MODULE.
	Module, Name string
}

// File is a program's place in an image.
type File struct {
	Path    string
	Program Program
}

// Image is the definition of an image: all that a Dockerfile would say.
type Image struct {
	// Name is what the image is asked for by, and its archive's base name.
	Name string
	// Repository and Tag make the reference. Where Tag is empty, it is the version that
	// is built.
	Repository, Tag string
	// Debian are the packages of the root file system. Without any the image
	// holds its files and nothing else.
	Debian []string
	// Files are each a layer of their own, so that a rebuilt program replaces
	// only its own.
	Files      []File
	Entrypoint []string
	Cmd        []string
	Labels     map[string]string
}

const registry = "ghcr.io/maneki-net/"

// Definitions are all images: the product's, then those of tests.
var Definitions = []Image{
	{
		Name:       "node",
		Repository: registry + "node",
		Debian:     []string{"conntrack", "iproute2", "ipset", "iptables", "nftables", "procps"},
		Files: []File{
			{"/usr/bin/felix", Program{Package: "./cmd/felix"}},
			{"/usr/bin/calicoctl", Program{Package: "./cmd/calicoctl"}},
			{"/opt/cni/bin/calico", Program{Package: "./cmd/cni-plugin"}},
			{"/opt/cni/bin/portmap", Program{Module: "portmap", Name: "portmap"}},
		},
		Entrypoint: []string{"/usr/bin/felix"},
		Labels:     productLabels("The agent of a node: policy, routes, addresses."),
	},
	{
		Name:       "typha",
		Repository: registry + "typha",
		Files:      []File{{"/typha", Program{Package: "./cmd/typha"}}},
		Entrypoint: []string{"/typha"},
		Labels:     productLabels("Watches the datastore and streams to every node what it needs."),
	},
	{
		Name:       "kube-controllers",
		Repository: registry + "kube-controllers",
		Files:      []File{{"/kube-controllers", Program{Package: "./cmd/kube-controllers"}}},
		Entrypoint: []string{"/kube-controllers"},
		Labels:     productLabels("Controllers: address clean-up, status, admission."),
	},
	{
		Name:       "ctl",
		Repository: registry + "ctl",
		Files:      []File{{"/calicoctl", Program{Package: "./cmd/calicoctl"}}},
		Entrypoint: []string{"/calicoctl"},
		Labels:     productLabels("The command-line tool."),
	},
	{
		Name:       "pause",
		Repository: "registry.k8s.io/pause",
		Tag:        "3.10.2",
		Files:      []File{{"/pause", Program{Package: "./test/images/pause"}}},
		Entrypoint: []string{"/pause"},
	},
	{
		Name:       "coredns",
		Repository: "registry.k8s.io/coredns/coredns",
		Tag:        "v1.14.7",
		Files:      []File{{"/coredns", Program{Module: "coredns", Name: "coredns"}}},
		Entrypoint: []string{"/coredns"},
	},
	{
		Name:       "agnhost",
		Repository: "registry.k8s.io/e2e-test-images/agnhost",
		Tag:        "2.63.0",
		Debian: []string{"conntrack", "curl", "dnsutils", "iperf3", "iproute2", "iptables", "iputils-ping",
			"netcat-openbsd", "procps"},
		Files:      []File{{"/agnhost", Program{Module: "kubernetes", Name: "agnhost"}}},
		Entrypoint: []string{"/agnhost"},
		Cmd:        []string{"pause"},
	},
}

func productLabels(description string) map[string]string {
	return map[string]string{
		"org.opencontainers.image.description": description,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/maneki-net/maneki",
	}
}

// Product names the images that users install: those that follow the version.
func Product() []string {
	var names []string
	for _, i := range Definitions {
		if i.Tag == "" {
			names = append(names, i.Name)
		}
	}
	return names
}

// Find returns the definition of that name.
func Find(name string) (Image, bool) {
	i := slices.IndexFunc(Definitions, func(d Image) bool { return d.Name == name })
	if i < 0 {
		return Image{}, false
	}
	return Definitions[i], true
}

// Reference is the image's name with its tag.
func (i Image) Reference(version string) string {
	if i.Tag != "" {
		version = i.Tag
	}
	return i.Repository + ":" + version
}
