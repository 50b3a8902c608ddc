package calicoctl

import (
	"cmp"
	"fmt"

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
	if value == nil {
		return ""
	}
	return fmt.Sprint(*value)
}

// columns are those of Calico's calicoctl, by kind, after NAMESPACE and NAME.
var columns = map[string][]column{
	"BGPConfiguration": {
		of("LOGSEVERITY", false, func(o *v3.BGPConfiguration) string { return o.Spec.LogSeverityScreen }),
		of("MESHENABLED", false, func(o *v3.BGPConfiguration) string { return ifSet(o.Spec.NodeToNodeMeshEnabled) }),
		of("ASNUMBER", false, func(o *v3.BGPConfiguration) string { return ifSet(o.Spec.ASNumber) }),
		of("LISTENPORT", true, func(o *v3.BGPConfiguration) any { return o.Spec.ListenPort }),
	},
	"BGPPeer": {
		of("PEERIP", false, func(o *v3.BGPPeer) string { return cmp.Or(o.Spec.PeerIP, o.Spec.PeerSelector) }),
		of("NODE", false, func(o *v3.BGPPeer) string { return cmp.Or(o.Spec.NodeSelector, o.Spec.Node, "(global)") }),
		of("ASN", false, func(o *v3.BGPPeer) uint32 { return o.Spec.ASNumber }),
		of("LOCALASN", true, func(o *v3.BGPPeer) string { return ifSet(o.Spec.LocalASNumber) }),
	},
	"BlockAffinity": {
		of("CIDR", false, func(o *v3.BlockAffinity) string { return o.Spec.CIDR }),
		of("NODE", false, func(o *v3.BlockAffinity) string { return o.Spec.Node }),
		of("STATE", false, func(o *v3.BlockAffinity) v3.BlockAffinityState { return o.Spec.State }),
		of("TYPE", true, func(o *v3.BlockAffinity) string { return o.Spec.Type }),
	},
	"ClusterInformation": {
		of("VERSION", false, func(o *v3.ClusterInformation) string { return o.Spec.CalicoVersion }),
		of("READY", false, func(o *v3.ClusterInformation) string { return ifSet(o.Spec.DatastoreReady) }),
		of("CLUSTERTYPE", true, func(o *v3.ClusterInformation) string { return o.Spec.ClusterType }),
		of("CLUSTERGUID", true, func(o *v3.ClusterInformation) string { return o.Spec.ClusterGUID }),
	},
	"FelixConfiguration": {
		of("LOGSEVERITY", false, func(o *v3.FelixConfiguration) string { return ifSet(o.Spec.LogSeverityScreen) }),
	},
	"IPAMBlock": {
		of("CIDR", false, func(o *v3.IPAMBlock) string { return o.Spec.CIDR }),
		of("AFFINITY", false, func(o *v3.IPAMBlock) string { return o.Spec.Affinity }),
		of("USED", false, used),
	},
	"IPAMConfiguration": {
		of("STRICTAFFINITY", false, func(o *v3.IPAMConfiguration) bool { return o.Spec.StrictAffinity }),
		of("MAXBLOCKSPERHOST", false, func(o *v3.IPAMConfiguration) int32 { return o.Spec.MaxBlocksPerHost }),
		of("AUTOALLOCATEBLOCKS", true, func(o *v3.IPAMConfiguration) bool { return o.Spec.AutoAllocateBlocks }),
	},
	"IPPool": {
		of("CIDR", false, func(o *v3.IPPool) string { return o.Spec.CIDR }),
		of("NAT", true, func(o *v3.IPPool) bool { return o.Spec.NATOutgoing }),
		of("IPIPMODE", true, func(o *v3.IPPool) v3.IPIPMode { return cmp.Or(o.Spec.IPIPMode, v3.IPIPModeNever) }),
		of("VXLANMODE", true, func(o *v3.IPPool) v3.VXLANMode { return cmp.Or(o.Spec.VXLANMode, v3.VXLANModeNever) }),
		of("DISABLED", true, func(o *v3.IPPool) bool { return o.Spec.Disabled }),
		of("DISABLEBGPEXPORT", true, func(o *v3.IPPool) bool { return o.Spec.DisableBGPExport }),
		of("SELECTOR", false, func(o *v3.IPPool) string { return cmp.Or(o.Spec.NodeSelector, "all()") }),
	},
}

// used is the number of addresses given out of a block.
func used(block *v3.IPAMBlock) string {
	given := 0
	for _, attribute := range block.Spec.Allocations {
		if attribute != nil {
			given++
		}
	}
	return fmt.Sprintf("%d/%d", given, len(block.Spec.Allocations))
}

// columnsOf gives the columns of a kind's table.
func columnsOf(kind datastore.Kind, wide bool) []column {
	var shown []column
	if kind.Namespaced {
		shown = append(shown, column{heading: "NAMESPACE", value: func(o datastore.Object) string { return o.GetNamespace() }})
	}
	shown = append(shown, column{heading: "NAME", value: func(o datastore.Object) string { return o.GetName() }})
	for _, c := range columns[kind.String()] {
		if wide || !c.wide {
			shown = append(shown, c)
		}
	}
	return shown
}
