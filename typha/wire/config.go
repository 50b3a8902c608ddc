package wire

// GlobalConfig is the name of the Config object of all nodes.
const GlobalConfig = "global"

// NodeConfig returns the name of the Config object of one node.
func NodeConfig(node string) string { return "node." + node }

// SelectedConfig begins the names of the Config objects that nodes have because of their labels. The rest is the name
// of the FelixConfiguration. A node has at most one.
const SelectedConfig = "selected."

// ClusterConfig is the name of the Config object that every node has while the datastore is not ready.
const ClusterConfig = "cluster"

// SettingDatastoreReady is the one setting in ClusterConfig. Its value is "false".
const SettingDatastoreReady = "DatastoreReady"
