package ipamgc

import (
	"math"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/maneki-net/maneki/ipam"
	"github.com/maneki-net/maneki/ipam/block"
)

// noPool is the label of blocks that are in no pool, as in Calico.
const noPool = "no_ippool"

var (
	byPool     = []string{"ippool", "node"}
	byNode     = []string{"node"}
	inUse      = gauge("ipam_allocations_in_use", "Addresses in use.", byPool)
	borrowed   = gauge("ipam_allocations_borrowed", "Addresses in use by a node in a block of another.", byPool)
	blocks     = gauge("ipam_blocks", "Blocks, by the node they have affinity to.", byPool)
	candidates = gauge("ipam_allocations_gc_candidates", "Addresses whose pod was not found, released or not.",
		byPool)
	poolSize     = gauge("ipam_ippool_size", "Addresses in the pool.", []string{"ippool"})
	poolReserved = gauge("ipam_ippool_reserved", "Addresses in the pool that IPReservations name.", []string{"ippool"})
	inUseNode    = gauge("ipam_allocations_per_node", "Addresses in use.", byNode)
	borrowedNode = gauge("ipam_allocations_borrowed_per_node", "Addresses in use by a node in a block of another.",
		byNode)
	blocksNode = gauge("ipam_blocks_per_node", "Blocks, by the node they have affinity to.", byNode)

	reclamations = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ipam_allocations_gc_reclamations", Help: "Addresses released because their pod was not found."}, byPool)

	gauges = []*prometheus.GaugeVec{inUse, borrowed, blocks, candidates, poolSize, poolReserved, inUseNode,
		borrowedNode, blocksNode}
)

func gauge(name, help string, labels []string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func init() {
	for _, g := range gauges {
		metrics.Registry.MustRegister(g)
	}
	metrics.Registry.MustRegister(reclamations)
}

// measure sets the gauges to a snapshot.
func measure(s *snapshot, v verdict) {
	for _, g := range gauges {
		g.Reset()
	}
	for i := range s.pools {
		if cidr, err := netip.ParsePrefix(s.pools[i].Spec.CIDR); err == nil {
			poolSize.WithLabelValues(s.pools[i].Name).Set(math.Exp2(float64(cidr.Addr().BitLen() - cidr.Bits())))
			poolReserved.WithLabelValues(s.pools[i].Name).Set(s.reserved.Count(cidr))
		}
	}
	for i := range s.blocks {
		allocations, err := block.Allocations(&s.blocks[i])
		if err != nil {
			continue
		}
		pool, host := s.pool(s.blocks[i].Spec.CIDR), block.NodeOf(&s.blocks[i])
		blocks.WithLabelValues(pool, host).Inc()
		blocksNode.WithLabelValues(host).Inc()
		for _, a := range allocations {
			node := a.Attributes[ipam.AttrNode]
			inUse.WithLabelValues(pool, node).Inc()
			inUseNode.WithLabelValues(node).Inc()
			if node != host {
				borrowed.WithLabelValues(pool, node).Inc()
				borrowedNode.WithLabelValues(node).Inc()
			}
		}
	}
	for _, a := range v.candidates {
		candidates.WithLabelValues(s.poolOf(a.Addr), a.Attributes[ipam.AttrNode]).Inc()
	}
}

// reclaimed counts what was released of the leaked addresses.
func reclaimed(s *snapshot, leaked []block.Allocation, released []block.Lease) {
	nodes := map[block.Lease]string{}
	for _, a := range leaked {
		nodes[a.Lease] = a.Attributes[ipam.AttrNode]
	}
	for _, lease := range released {
		reclamations.WithLabelValues(s.poolOf(lease.Addr), nodes[lease]).Inc()
	}
}

// pool returns the label for a block.
func (s *snapshot) pool(cidr string) string {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return noPool
	}
	return s.poolOf(prefix.Addr())
}

// poolOf returns the name of the smallest pool that contains an address.
func (s *snapshot) poolOf(addr netip.Addr) string {
	name, longest := noPool, -1
	for i := range s.pools {
		pool, err := netip.ParsePrefix(s.pools[i].Spec.CIDR)
		if err == nil && pool.Contains(addr) && pool.Bits() > longest {
			name, longest = s.pools[i].Name, pool.Bits()
		}
	}
	return name
}
