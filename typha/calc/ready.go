package calc

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/typha/wire"
)

// ClusterInformationName is the name of the only ClusterInformation that counts.
const ClusterInformationName = "default"

// ClusterConfig is the name of the Config object that every node has while the datastore is not ready.
const ClusterConfig = "cluster"

// SettingDatastoreReady is the one value of ClusterConfig.
const SettingDatastoreReady = "DatastoreReady"

// DatastoreReady returns false for a ClusterInformation that says datastoreReady: false.
func DatastoreReady(o metav1.Object) bool {
	info, ok := o.(*v3.ClusterInformation)
	return !ok || info.Spec.DatastoreReady == nil || *info.Spec.DatastoreReady
}

// setReadiness hands out whether the datastore is ready, as a ClusterInformation says; nil for one that is gone.
func setReadiness(out *output, name string, o *v3.ClusterInformation) {
	switch {
	case name != ClusterInformationName:
	case o == nil || DatastoreReady(o):
		out.remove(wire.ID{Kind: wire.KindConfig, Name: ClusterConfig})
	default:
		out.set(&wire.Config{Name: ClusterConfig, Values: map[string]string{SettingDatastoreReady: "false"}})
	}
}
