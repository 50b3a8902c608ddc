package etcd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/maneki-net/maneki/api/repair"
	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// root is the parent of all keys, Calico's: below it lie <plural>/<name> and <plural>/<namespace>/<name>.
const root = "/calico/resources/v3/projectcalico.org/"

var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := v3.AddToScheme(s); err != nil {
		panic(err) // two Go types for one kind: a broken build
	}
	return s
}()

// folder is what the keys of a kind, or of its objects in one namespace, begin with.
func folder(kind datastore.Kind, namespace string) string {
	if namespace == "" {
		return root + kind.Plural + "/"
	}
	return root + kind.Plural + "/" + namespace + "/"
}

// pathOf is the key of an object; false if none can have such a name.
func pathOf(kind datastore.Kind, key datastore.Key) (string, bool) {
	bad := func(part string) bool { return part == "" || strings.Contains(part, "/") }
	if bad(key.Name) || kind.Namespaced == bad(key.Namespace) {
		return "", false
	}
	return folder(kind, key.Namespace) + key.Name, true
}

// keyOf is the reverse of pathOf.
func keyOf(kind datastore.Kind, path string) (datastore.Key, bool) {
	key := datastore.Key{Name: strings.TrimPrefix(path, folder(kind, ""))}
	if namespace, name, ok := strings.Cut(key.Name, "/"); ok && kind.Namespaced {
		key = datastore.Key{Namespace: namespace, Name: name}
	}
	_, ok := pathOf(kind, key)
	return key, ok
}

// encode returns the stored form of an object: JSON, without the revision that it will get.
func encode(o datastore.Object) (string, error) {
	o = o.DeepCopyObject().(datastore.Object)
	o.SetResourceVersion("")
	body, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	return string(body), nil
}

// decode reads a stored object. Its name is that of the etcd key, and its revision etcd's. If the content
// is of no use, the object has these alone.
func decode(kind datastore.Kind, kv *mvccpb.KeyValue) (datastore.Object, error) {
	key, ok := keyOf(kind, string(kv.Key))
	o, err := parse(kind, kv.Value)
	if !ok {
		err = fmt.Errorf("a %s has no such key", kind)
	}
	if err != nil {
		err = fmt.Errorf("%w: etcd key %s: %w", datastore.ErrUnusable, kv.Key, err)
		o, _ = parse(kind, []byte("{}"))
		if o == nil {
			return nil, err
		}
	}
	o.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	o.SetNamespace(key.Namespace)
	o.SetName(key.Name)
	o.SetResourceVersion(format(kv.ModRevision))
	o.SetManagedFields(nil)
	return o, err
}

func parse(kind datastore.Kind, body []byte) (datastore.Object, error) {
	o, err := scheme.New(kind.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, o); err != nil {
		repaired, ok := repair.JSON(kind.GroupVersionKind, body)
		o, _ = scheme.New(kind.GroupVersionKind)
		if !ok || json.Unmarshal(repaired, o) != nil {
			return nil, err
		}
	}
	if got := o.GetObjectKind().GroupVersionKind(); got.Kind != "" && got != kind.GroupVersionKind {
		return nil, fmt.Errorf("the value is a %s", got)
	}
	return o.(datastore.Object), nil
}

var errKind = errors.New("etcd holds the kinds of projectcalico.org/v3 alone")

// stored says whether a kind is stored here.
func stored(kind datastore.Kind) error {
	if kind.GroupVersion() != v3.GroupVersion {
		return errKind
	}
	return nil
}

func format(revision int64) string { return strconv.FormatInt(revision, 10) }
