package sync

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// errAnother is returned when another datastore has replaced the one that was read. Resource versions of the two cannot
// be compared, so the process has to start again.
var errAnother = errors.New("the datastore is another one than when this process began to read it")

// identity returns the identity of the datastore, if one of the objects tells it, and otherwise an empty string. It is
// the UID of an object that is made once in the life of a datastore, and is in its backups. In Kubernetes that is a
// namespace which the API server makes and lets nobody delete.
func identity(objects []metav1.Object) string {
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			if o.Name == metav1.NamespaceSystem {
				return string(o.UID)
			}
		case *v3.ClusterInformation:
			if o.Name == "default" {
				return string(o.UID)
			}
		}
	}
	return ""
}
