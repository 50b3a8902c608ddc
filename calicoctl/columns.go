package calicoctl

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/jsonpath"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// column is a column of a table; only says that it is shown with -o wide alone.
type column struct {
	heading string
	wide    bool
	value   func(datastore.Object) string
}

// of makes a column from a value of a resource's Go type. Zero values are shown as they are; nil pointers are empty.
func of[T datastore.Object, V any](heading string, wide bool, value func(T) V) column {
	return column{heading, wide, func(o datastore.Object) string { return fmt.Sprint(value(o.(T))) }}
}

// ifSet is the text of a value that may be absent, and then is empty.
func ifSet[V any](value *V) string {
	switch v := any(value).(type) {
	case *float64:
		if v != nil {
			return strconv.FormatFloat(*v, 'f', -1, 64)
		}
	default:
		if value != nil {
			return fmt.Sprint(*value)
		}
	}
	return ""
}

// join is the text of the items of a slice, or of the pairs of a map, with a separator; a limit above 0 is how long it
// gets.
func join(items any, separator string, limit int) string {
	var texts []string
	switch v := reflect.ValueOf(items); v.Kind() {
	case reflect.Invalid:
	case reflect.Slice:
		for i := range v.Len() {
			texts = append(texts, fmt.Sprint(v.Index(i).Interface()))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			texts = append(texts, fmt.Sprintf("%v=%v", key, v.MapIndex(key)))
		}
		slices.Sort(texts)
	default:
		texts = append(texts, fmt.Sprint(items))
	}
	text := strings.Join(texts, separator)
	if limit > 3 && len(text) > limit {
		text = text[:limit-3] + "..."
	}
	return text
}

// commas joins values for a column.
func commas[V any](values []V) string { return join(values, ",", 80) }

// policy are the columns of a kind of policy.
func policy[T datastore.Object](tier func(T) string, order func(T) *float64, selector func(T) string) []column {
	return []column{
		of("TIER", false, func(o T) string { return cmp.Or(tier(o), v3.DefaultTier) }),
		of("ORDER", true, func(o T) string { return ifSet(order(o)) }),
		of("SELECTOR", true, selector),
	}
}

// columns are those of Calico's calicoctl, by kind, after NAMESPACE and NAME.
var columns = map[datastore.Kind][]column{
	datastore.BGPConfigurations: {
		of("LOGSEVERITY", false, func(o *v3.BGPConfiguration) string { return o.Spec.LogSeverityScreen }),
		of("MESHENABLED", false, func(o *v3.BGPConfiguration) string { return ifSet(o.Spec.NodeToNodeMeshEnabled) }),
		of("ASNUMBER", false, func(o *v3.BGPConfiguration) string { return ifSet(o.Spec.ASNumber) }),
		of("LISTENPORT", true, func(o *v3.BGPConfiguration) any { return o.Spec.ListenPort }),
	},
	datastore.BGPPeers: {
		of("PEERIP", false, func(o *v3.BGPPeer) string { return cmp.Or(o.Spec.PeerIP, o.Spec.PeerSelector) }),
		of("NODE", false, func(o *v3.BGPPeer) string { return cmp.Or(o.Spec.NodeSelector, o.Spec.Node, "(global)") }),
		of("ASN", false, func(o *v3.BGPPeer) uint32 { return o.Spec.ASNumber }),
		of("LOCALASN", true, func(o *v3.BGPPeer) string { return ifSet(o.Spec.LocalASNumber) }),
	},
	datastore.BlockAffinities: {
		of("CIDR", false, func(o *v3.BlockAffinity) string { return o.Spec.CIDR }),
		of("NODE", false, func(o *v3.BlockAffinity) string { return o.Spec.Node }),
		of("STATE", false, func(o *v3.BlockAffinity) v3.BlockAffinityState { return o.Spec.State }),
		of("TYPE", true, func(o *v3.BlockAffinity) string { return o.Spec.Type }),
	},
	datastore.CalicoNodeStatuses: {
		of("NODE", false, func(o *v3.CalicoNodeStatus) string { return o.Spec.Node }),
		of("CLASSES", true, func(o *v3.CalicoNodeStatus) string { return commas(o.Spec.Classes) }),
	},
	datastore.ClusterInformations: {
		of("VERSION", false, func(o *v3.ClusterInformation) string { return o.Spec.CalicoVersion }),
		of("READY", false, func(o *v3.ClusterInformation) string { return ifSet(o.Spec.DatastoreReady) }),
		of("CLUSTERTYPE", true, func(o *v3.ClusterInformation) string { return o.Spec.ClusterType }),
		of("CLUSTERGUID", true, func(o *v3.ClusterInformation) string { return o.Spec.ClusterGUID }),
	},
	datastore.FelixConfigurations: {
		of("LOGSEVERITY", false, func(o *v3.FelixConfiguration) string { return ifSet(o.Spec.LogSeverityScreen) }),
	},
	datastore.GlobalNetworkPolicies: policy(func(o *v3.GlobalNetworkPolicy) string { return o.Spec.Tier },
		func(o *v3.GlobalNetworkPolicy) *float64 { return o.Spec.Order },
		func(o *v3.GlobalNetworkPolicy) string { return o.Spec.Selector }),
	datastore.CalicoNetworkPolicies: policy(func(o *v3.NetworkPolicy) string { return o.Spec.Tier },
		func(o *v3.NetworkPolicy) *float64 { return o.Spec.Order },
		func(o *v3.NetworkPolicy) string { return o.Spec.Selector }),
	datastore.StagedGlobalNetworkPolicies: policy(func(o *v3.StagedGlobalNetworkPolicy) string { return o.Spec.Tier },
		func(o *v3.StagedGlobalNetworkPolicy) *float64 { return o.Spec.Order },
		func(o *v3.StagedGlobalNetworkPolicy) string { return o.Spec.Selector }),
	datastore.StagedNetworkPolicies: policy(func(o *v3.StagedNetworkPolicy) string { return o.Spec.Tier },
		func(o *v3.StagedNetworkPolicy) *float64 { return o.Spec.Order },
		func(o *v3.StagedNetworkPolicy) string { return o.Spec.Selector }),
	datastore.GlobalNetworkSets: {
		of("NETS", true, func(o *v3.GlobalNetworkSet) string { return commas(o.Spec.Nets) }),
	},
	datastore.NetworkSets: {
		of("NETS", true, func(o *v3.NetworkSet) string { return commas(o.Spec.Nets) }),
	},
	datastore.HostEndpoints: {
		of("NODE", false, func(o *v3.HostEndpoint) string { return o.Spec.Node }),
		of("INTERFACE", true, func(o *v3.HostEndpoint) string { return o.Spec.InterfaceName }),
		of("IPS", true, func(o *v3.HostEndpoint) string { return commas(o.Spec.ExpectedIPs) }),
		of("PROFILES", true, func(o *v3.HostEndpoint) string { return commas(o.Spec.Profiles) }),
	},
	datastore.IPAMBlocks: {
		of("CIDR", false, func(o *v3.IPAMBlock) string { return o.Spec.CIDR }),
		of("AFFINITY", false, func(o *v3.IPAMBlock) string { return o.Spec.Affinity }),
		of("USED", false, used),
	},
	datastore.IPAMConfigurations: {
		of("STRICTAFFINITY", false, func(o *v3.IPAMConfiguration) bool { return o.Spec.StrictAffinity }),
		of("MAXBLOCKSPERHOST", false, func(o *v3.IPAMConfiguration) int32 { return o.Spec.MaxBlocksPerHost }),
		of("AUTOALLOCATEBLOCKS", true,
			func(o *v3.IPAMConfiguration) string { return ifSet(o.Spec.AutoAllocateBlocks) }),
	},
	datastore.IPAMHandles: {
		of("ID", false, func(o *v3.IPAMHandle) string { return o.Spec.HandleID }),
	},
	datastore.IPPools: {
		of("CIDR", false, func(o *v3.IPPool) string { return o.Spec.CIDR }),
		of("NAT", true, func(o *v3.IPPool) bool { return o.Spec.NATOutgoing }),
		of("IPIPMODE", true, func(o *v3.IPPool) v3.IPIPMode { return cmp.Or(o.Spec.IPIPMode, v3.IPIPModeNever) }),
		of("VXLANMODE", true, func(o *v3.IPPool) v3.VXLANMode { return cmp.Or(o.Spec.VXLANMode, v3.VXLANModeNever) }),
		of("DISABLED", true, func(o *v3.IPPool) bool { return o.Spec.Disabled }),
		of("DISABLEBGPEXPORT", true, func(o *v3.IPPool) bool { return o.Spec.DisableBGPExport }),
		of("SELECTOR", false, func(o *v3.IPPool) string { return cmp.Or(o.Spec.NodeSelector, "all()") }),
	},
	datastore.IPReservations: {
		of("RESERVEDCIDRS", true, func(o *v3.IPReservation) string { return commas(o.Spec.ReservedCIDRs) }),
	},
	datastore.Tiers: {
		of("ORDER", false, func(o *v3.Tier) string { return ifSet(o.Spec.Order) }),
		of("DEFAULTACTION", true, func(o *v3.Tier) string { return ifSet(o.Spec.DefaultAction) }),
	},
	datastore.CalicoNodes: {
		of("IPV4", true, func(o *v3.Node) string { return bgpOf(o).IPv4Address }),
		of("IPV6", true, func(o *v3.Node) string { return bgpOf(o).IPv6Address }),
	},
	datastore.Profiles: {
		of("LABELS", true, func(o *v3.Profile) string { return join(o.Spec.LabelsToApply, ",", 0) }),
	},
	datastore.WorkloadEndpoints: {
		of("WORKLOAD", false, func(o *v3.WorkloadEndpoint) string { return cmp.Or(o.Spec.Workload, o.Spec.Pod) }),
		of("NODE", false, func(o *v3.WorkloadEndpoint) string { return o.Spec.Node }),
		of("NETWORKS", false, func(o *v3.WorkloadEndpoint) string { return commas(o.Spec.IPNetworks) }),
		of("INTERFACE", false, func(o *v3.WorkloadEndpoint) string { return o.Spec.InterfaceName }),
		of("PROFILES", true, func(o *v3.WorkloadEndpoint) string { return commas(o.Spec.Profiles) }),
		of("NATS", true, nats),
	},
}

func bgpOf(node *v3.Node) v3.NodeBGPSpec {
	if node.Spec.BGP == nil {
		return v3.NodeBGPSpec{}
	}
	return *node.Spec.BGP
}

func nats(endpoint *v3.WorkloadEndpoint) string {
	var pairs []string
	for _, nat := range endpoint.Spec.IPNATs {
		pairs = append(pairs, nat.ExternalIP+"->"+nat.InternalIP)
	}
	return commas(pairs)
}

// used is the number of addresses given out of a block.
func used(block *v3.IPAMBlock) string {
	given := 0
	for _, attribute := range block.Spec.Allocations {
		if attribute != nil && (*attribute >= len(block.Spec.Attributes) ||
			block.Spec.Attributes[*attribute].ReleasedAt == nil) {
			given++
		}
	}
	return fmt.Sprintf("%d/%d", given, len(block.Spec.Allocations))
}

// columnsOf returns the columns of a kind's table.
func (p *printer) columnsOf(kind datastore.Kind) ([]column, error) {
	all := []column{
		{heading: "NAMESPACE", value: func(o datastore.Object) string { return o.GetNamespace() }},
		// Endpoints are known by their workloads.
		{heading: "NAME", wide: kind == datastore.WorkloadEndpoints,
			value: func(o datastore.Object) string { return o.GetName() }},
	}
	if !kind.Namespaced {
		all = all[1:]
	}
	if kind == datastore.CalicoNodes {
		all = append(all, of("ASN", true, func(o *v3.Node) string {
			if asn := bgpOf(o).ASNumber; asn != nil {
				return ifSet(asn)
			}
			return "(" + p.globalASN() + ")"
		}))
	}
	all = append(all, columns[kind]...)
	if p.format == "custom-columns" {
		return p.customColumns(kind, all)
	}
	return slices.DeleteFunc(all, func(c column) bool {
		return c.wide && p.format != "wide" || c.heading == "NAMESPACE" && !p.namespaces
	}), nil
}

// customColumns returns those that the user named: headings of the kind's table, or HEADING:.path as in kubectl.
func (p *printer) customColumns(kind datastore.Kind, all []column) ([]column, error) {
	byHeading := map[string]column{}
	for _, c := range all {
		byHeading[c.heading] = c
	}
	var chosen []column
	for _, name := range p.columns {
		heading, path, hasPath := strings.Cut(name, ":")
		c, ok := byHeading[strings.ToUpper(name)]
		if hasPath {
			var err error
			c, err = pathColumn(heading, path)
			if err != nil {
				return nil, err
			}
		} else if !ok {
			return nil, fmt.Errorf("%s has no column %s; it has %s, and any field as HEADING:.spec.field",
				kind, name, strings.Join(slices.Sorted(maps.Keys(byHeading)), ", "))
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}

// pathColumn is a column with what a JSONPath finds.
func pathColumn(heading, path string) (column, error) {
	expression := jsonpath.New(heading).AllowMissingKeys(true)
	if err := expression.Parse("{." + strings.TrimPrefix(strings.Trim(path, "{}"), ".") + "}"); err != nil {
		return column{}, fmt.Errorf("column %s: path %s: %w", heading, path, err)
	}
	return column{heading: heading, value: func(o datastore.Object) string {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return err.Error()
		}
		var text strings.Builder
		if err := expression.Execute(&text, content); err != nil {
			return err.Error()
		}
		return cmp.Or(text.String(), "<none>")
	}}, nil
}
