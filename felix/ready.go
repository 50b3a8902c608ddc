package felix

import (
	"errors"

	"github.com/maneki-net/maneki/typha/wire"
)

// errNotReady is the answer to an ADD while the datastore is not ready. Nobody computes the pod's policy then.
var errNotReady = errors.New("the datastore is not ready to connect pods: ClusterInformation default says " +
	"datastoreReady: false; set it to true to go on")

// noticeNotReady tells why nothing changes.
const noticeNotReady = "ClusterInformation default says datastoreReady: false: the node keeps what it has " +
	"programmed, applies no changes and connects no new pods until it is true"

// datastoreReady reports whether the stream goes on. An administrator stops it for a migration of the datastore.
func (a *Agent) datastoreReady() bool {
	c := a.state.configs[wire.ClusterConfig]
	return c == nil || c.Values[wire.SettingDatastoreReady] != "false"
}
