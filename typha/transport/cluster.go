package transport

import (
	"github.com/maneki-net/maneki/typha/hub"
	"github.com/maneki-net/maneki/typha/wire"
)

// clusterWriter sends a node the counts of the cluster: after the welcome, and with a ping if they have changed. They
// cost no message of their own, however fast the cluster changes.
type clusterWriter struct {
	writer *messageWriter
	hub    *hub.Hub
	sent   *wire.Cluster // nil if none were sent
}

// addChanged adds a frame with the counts, if they have changed and the node understands them.
func (c *clusterWriter) addChanged() error {
	cluster, known := c.hub.Cluster()
	if !known || c.writer.lacks&wire.FeatureCluster != 0 || c.sent != nil && *c.sent == cluster {
		return nil
	}
	c.sent = &cluster
	return c.writer.addFrame(frameCluster, cluster)
}
