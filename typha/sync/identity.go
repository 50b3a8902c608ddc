package sync

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// errAnother says that the datastore was replaced by another one, of whose resource versions those that were seen say
// nothing. The process has to begin anew.
var errAnother = errors.New("the datastore is another one than when this process began to read it")

// identity returns what tells the datastore from others, also from a later one at the same address: the UID of an
// object that is made once in its life and is in its backups. The API server makes the namespace and lets nobody delete
// it. It is empty if none of the objects tells it.
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
