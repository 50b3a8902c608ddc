package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.ParseFS(templateFiles, "templates/*"))

// Images that the cluster itself needs; the tags that this Kubernetes asks for.
const (
	pauseImage   = "registry.k8s.io/pause:3.10.2"
	corednsImage = "registry.k8s.io/coredns/coredns:v1.14.7"
)

// templateData is what templates/ can refer to.
type templateData struct {
	Plan Plan
	Node NodePlan
	// AnyAddress listens on all families that the nodes have.
	AnyAddress netip.Addr
	// AnyPrefixes are the default destinations of the cluster's families.
	AnyPrefixes              []netip.Prefix
	PauseImage, CoreDNSImage string
}

func newTemplateData(c Config, p Plan, n NodePlan) templateData {
	d := templateData{Plan: p, Node: n, PauseImage: pauseImage, CoreDNSImage: corednsImage}
	d.AnyPrefixes = c.prefixes(familyPrefixes{
		netip.PrefixFrom(netip.IPv4Unspecified(), 0),
		netip.PrefixFrom(netip.IPv6Unspecified(), 0),
	})
	// The IPv6 wildcard takes IPv4 connections too.
	d.AnyAddress = d.AnyPrefixes[len(d.AnyPrefixes)-1].Addr()
	return d
}

func render(name string, d templateData) ([]byte, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, d); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}
