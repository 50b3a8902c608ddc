package convert

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// renamed are the kinds of crd.projectcalico.org/v1 that are called otherwise in v3.
var renamed = map[string]string{"IPAMConfig": "IPAMConfiguration"}

// metadataAnnotation holds, in crd.projectcalico.org/v1, the metadata that the resource has in v3.
const metadataAnnotation = "projectcalico.org/metadata"

// serverFields are written by an API server and mean nothing in another.
var serverFields = []string{"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation",
	"managedFields",
	"ownerReferences", "resourceVersion", "selfLink", "uid"}

// current converts a resource that has v3's form but for details: one of crd.projectcalico.org/v1, or an older one of
// v3.
func current(kind string, content fields, crd bool) (string, fields, fields) {
	if name, ok := renamed[kind]; ok {
		kind = name
	}
	metadata, spec := content.object("metadata"), content.object("spec")
	if metadata == nil {
		metadata = fields{}
	}
	for _, key := range serverFields {
		delete(metadata, key)
	}
	annotations := metadata.object("annotations")
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	var kept struct {
		Labels      map[string]any `json:"labels"`
		Annotations map[string]any `json:"annotations"`
	}
	if err := json.Unmarshal([]byte(annotations.text(metadataAnnotation)), &kept); err == nil {
		metadata["labels"], metadata["annotations"] = kept.Labels, kept.Annotations
	}
	if tier, ok := spec["tier"]; crd && strings.HasSuffix(kind, "NetworkPolicy") && (!ok || tier == v3.DefaultTier) {
		// Calico stored policies of this tier with it in front of their names, unseen by users.
		metadata["name"] = strings.TrimPrefix(metadata.text("name"), v3.DefaultTier+".")
	}
	switch kind {
	case "IPPool":
		if value, ok := spec["nat-outgoing"]; ok {
			spec["natOutgoing"] = value
			delete(spec, "nat-outgoing")
		}
		if _, ok := spec["ipip"]; ok {
			spec["ipipMode"] = ipipMode(spec.object("ipip"))
			delete(spec, "ipip")
		}
	case "BlockAffinity", "IPAMHandle", "IPAMBlock":
		if deleted, ok := spec["deleted"].(string); ok {
			spec["deleted"] = deleted == "true"
		}
	}
	return kind, metadata, spec
}

// legacies convert the kinds of Calico 2's API v1. They take what they understand.
var legacies = map[string]func(fields) (string, fields, fields){
	"bgpPeer":      bgpPeer,
	"hostEndpoint": hostEndpoint,
	"ipPool":       ipPool,
	"node":         node,
	"policy":       policy,
	"profile":      profile,
}

func ipPool(content fields) (string, fields, fields) {
	metadata, spec := content.object("metadata"), content.object("spec")
	cidr := metadata.text("cidr")
	return "IPPool", fields{"name": strings.NewReplacer(".", "-", ":", "-", "/", "-").Replace(cidr)}, fields{
		"cidr":        network(cidr),
		"ipipMode":    ipipMode(spec.object("ipip")),
		"vxlanMode":   string(v3.VXLANModeNever),
		"natOutgoing": spec.take("nat-outgoing"),
		"disabled":    spec.take("disabled"),
	}
}

func ipipMode(ipip fields) string {
	mode := ipip.text("mode")
	switch {
	case ipip.text("enabled") != "true":
		return string(v3.IPIPModeNever)
	case strings.EqualFold(mode, "cross-subnet"):
		return string(v3.IPIPModeCrossSubnet)
	}
	return string(v3.IPIPModeAlways)
}

func bgpPeer(content fields) (string, fields, fields) {
	metadata, spec := content.object("metadata"), content.object("spec")
	metadata.take("scope") // follows from whether there is a node
	peer, node := metadata.text("peerIP"), plainName(metadata.text("node"))
	name := addressName(peer)
	if node != "" {
		name = node + "." + name
	}
	return "BGPPeer", fields{"name": name}, fields{"peerIP": peer, "node": node, "asNumber": asNumber(spec)}
}

func node(content fields) (string, fields, fields) {
	metadata, spec := content.object("metadata"), content.object("spec")
	bgp := spec.object("bgp")
	return "Node", fields{"name": plainName(metadata.text("name")), "labels": metadata.take("labels")}, fields{
		"bgp": fields{"asNumber": asNumber(bgp), "ipv4Address": withLength(bgp.text("ipv4Address")),
			"ipv6Address": withLength(bgp.text("ipv6Address"))},
		"orchRefs": spec.take("orchRefs"),
	}
}

func hostEndpoint(content fields) (string, fields, fields) {
	metadata, spec := content.object("metadata"), content.object("spec")
	node := plainName(metadata.text("node"))
	var ports []any
	for _, item := range spec.list("ports") {
		port, _ := item.(map[string]any)
		ports = append(ports, fields{"name": fields(port).take("name"), "port": fields(port).take("port"),
			"protocol": protocol(fields(port).take("protocol"))})
	}
	return "HostEndpoint", fields{"name": uniqueName(node+"."+metadata.text("name"), true),
			"labels": metadata.take("labels")}, fields{
			"node":          node,
			"interfaceName": spec.take("interfaceName"),
			"expectedIPs":   spec.take("expectedIPs"),
			"profiles":      profileNames(spec.take("profiles")),
			"ports":         list(ports),
		}
}

func policy(content fields) (string, fields, fields) {
	metadata, spec := content.object("metadata"), content.object("spec")
	name, tier := uniqueName(metadata.text("name"), false), uniqueName(metadata.text("tier"), false)
	if tier != "" && tier != v3.DefaultTier {
		name = tier + "." + name
	}
	var types []any
	for _, item := range spec.list("types") {
		if direction, ok := item.(string); ok {
			types = append(types, capital(direction))
		}
	}
	delete(spec, "types")
	converted := fields{
		"tier": tier, "order": spec.take("order"), "selector": selector(spec.text("selector")), "types": list(types),
		"ingress": rules(spec, "ingress"), "egress": rules(spec, "egress"),
		"doNotTrack": spec.take("doNotTrack"), "preDNAT": spec.take("preDNAT"),
		"applyOnForward": spec.take("applyOnForward"),
	}
	if converted["doNotTrack"] == true || converted["preDNAT"] == true {
		// They always did; v3 wants it said.
		converted["applyOnForward"] = true
	}
	return "GlobalNetworkPolicy", fields{"name": name, "annotations": metadata.take("annotations")}, converted
}

func profile(content fields) (string, fields, fields) {
	metadata, spec := content.object("metadata"), content.object("spec")
	labels, _ := metadata.take("labels").(map[string]any)
	if labels == nil {
		labels = map[string]any{}
	}
	for _, tags := range []fields{metadata, spec} {
		for _, tag := range tags.list("tags") {
			if key, ok := tag.(string); ok && labels[key] == nil {
				labels[key] = ""
			}
		}
		delete(tags, "tags")
	}
	return "Profile", fields{"name": profileName(metadata.text("name"))}, fields{
		"labelsToApply": labels, "ingress": rules(spec, "ingress"), "egress": rules(spec, "egress")}
}
