package kubernetes

import (
	stdjson "encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/maneki-net/maneki/api/repair"
	"github.com/maneki-net/maneki/datastore"
)

// unusable is what is left of an object in a watch whose content does not fit its Go type. The API server does
// not judge what it has stored, and a CRD may have been another when that was.
type unusable struct {
	metav1.PartialObjectMetadata
	err error
}

// DeepCopyObject implements runtime.Object.
func (u *unusable) DeepCopyObject() runtime.Object {
	return &unusable{*u.PartialObjectMetadata.DeepCopy(), u.err}
}

func errUnusable(cause error) error { return fmt.Errorf("%w: %w", datastore.ErrUnusable, cause) }

// lenient makes a watch go on after an object that cannot be decoded.
type lenient struct {
	runtime.NegotiatedSerializer
	scheme *runtime.Scheme
}

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (l lenient) DecoderToVersion(decoder runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return lenientDecoder{l.NegotiatedSerializer.DecoderToVersion(decoder, gv), l.scheme}
}

type lenientDecoder struct {
	runtime.Decoder
	scheme *runtime.Scheme
}

// Decode implements runtime.Decoder. Only a watch leaves it to us what to decode into.
func (l lenientDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object,
) (runtime.Object, *schema.GroupVersionKind, error) {
	object, gvk, err := l.Decoder.Decode(data, defaults, into)
	if into != nil || gvk == nil || err == nil && !repair.Strict(gvk.GroupKind()) {
		return object, gvk, err
	}
	kind := *gvk
	if kind.GroupKind() == datastore.ClusterNetworkPolicies.GroupKind() {
		kind = datastore.ClusterNetworkPolicies.GroupVersionKind // the server may serve only another version
	}
	if repaired := mend(l.scheme, kind, data, err); repaired != nil {
		return repaired, &kind, nil
	}
	if err == nil {
		return object, gvk, nil
	}
	u := &unusable{err: errUnusable(err)}
	u.ObjectMeta, err = namesOf(data)
	if err != nil {
		return object, gvk, errors.Join(u.err, err)
	}
	return u, gvk, nil
}

// mend returns an object for data that cannot be decoded, because of cause, or whose kind is checked strictly. It
// returns nil if the rest of the object would mean nothing.
func mend(scheme *runtime.Scheme, kind schema.GroupVersionKind, data []byte, cause error) runtime.Object {
	var text []byte
	var ok bool
	if isProtobuf(data) {
		if metadata, err := namesOf(data); err == nil {
			text, ok = repair.Closed(kind, metadata, cause)
		}
	} else {
		text, ok = repair.JSON(kind, data)
	}
	if !ok {
		return nil
	}
	o, err := scheme.New(kind)
	if err != nil || json.Unmarshal(text, o) != nil {
		return nil
	}
	return o
}

// namesOf returns the name, namespace and revision of an object, whatever else is in it.
func namesOf(data []byte) (metav1.ObjectMeta, error) {
	if isProtobuf(data) {
		return protobufMetadata(data)
	}
	var object struct {
		Metadata map[string]stdjson.RawMessage `json:"metadata"`
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return metav1.ObjectMeta{}, fmt.Errorf("read the name of an object: %w", err)
	}
	var m metav1.ObjectMeta
	for name, into := range map[string]any{"name": &m.Name, "namespace": &m.Namespace, "uid": &m.UID,
		"resourceVersion": &m.ResourceVersion} {
		if value := object.Metadata[name]; value != nil {
			_ = json.Unmarshal(value, into) // a missing name is an error below
		}
	}
	if m.Name == "" {
		return m, errors.New("read the name of an object: it has none")
	}
	return m, nil
}

// decode decodes an object, repaired if that is necessary and possible.
func (s *Store) decode(kind datastore.Kind, item []byte) (runtime.Object, error) {
	o, err := s.scheme.New(kind.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	if isProtobuf(item) {
		err = unmarshalProtobuf(item, o)
	} else {
		err = json.Unmarshal(item, o)
	}
	if err == nil && !repair.Strict(kind.GroupKind()) {
		return o, nil
	}
	if repaired := mend(s.scheme, kind.GroupVersionKind, item, err); repaired != nil {
		return repaired, nil
	}
	return o, err
}
