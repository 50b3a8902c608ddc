package stream

import "github.com/maneki-net/maneki/typha/wire"

// Cluster returns how many there are in the cluster, and whether that is known yet. It is for any goroutine.
func (h *Hub) Cluster() (wire.Cluster, bool) {
	stats := h.metrics.calc.stats.Load()
	if stats == nil {
		return wire.Cluster{}, false
	}
	return stats.Cluster, true
}

// Cluster returns what Typha said last of how many there are in the cluster, and whether it has said so. It is for any
// goroutine.
func (c *Client) Cluster() (wire.Cluster, bool) {
	cluster := c.cluster.Load()
	if cluster == nil {
		return wire.Cluster{}, false
	}
	return *cluster, true
}

// clusterTeller tells a node how many there are in the cluster: with the welcome, and with a ping if that changed. So
// it costs no message of its own, however fast the cluster changes.
type clusterTeller struct {
	writer *messageWriter
	hub    *Hub
	told   *wire.Cluster
}

func (t *clusterTeller) tell() error {
	cluster, known := t.hub.Cluster()
	if !known || t.writer.lacks&wire.FeatureCluster != 0 || t.told != nil && *t.told == cluster {
		return nil
	}
	t.told = &cluster
	return t.writer.addFrame(frameCluster, cluster)
}
