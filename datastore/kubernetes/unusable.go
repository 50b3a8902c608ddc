package kubernetes

import (
	stdjson "encoding/json"
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
type lenient struct{ runtime.NegotiatedSerializer }

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (l lenient) DecoderToVersion(decoder runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return lenientDecoder{l.NegotiatedSerializer.DecoderToVersion(decoder, gv)}
}

type lenientDecoder struct{ runtime.Decoder }

// Decode implements runtime.Decoder. Only a watch leaves it to us what to decode into.
func (l lenientDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	object, gvk, err := l.Decoder.Decode(data, defaults, into)
	if err == nil || into != nil {
		return object, gvk, err
	}
	u := &unusable{err: errUnusable(err)}
	if gvk != nil {
		if repaired, ok := repair.JSON(gvk.Kind, data); ok {
			if object, gvk, err := l.Decoder.Decode(repaired, defaults, nil); err == nil {
				return object, gvk, nil
			}
		}
	}
	if json.Unmarshal(data, &u.PartialObjectMetadata) != nil || u.Name == "" {
		return object, gvk, err
	}
	return u, gvk, nil
}

// page is a list whose items are not decoded yet.
type page struct {
	metav1.ListMeta `json:"metadata"`
	Items           []stdjson.RawMessage `json:"items"`
}

// customPage adds a page of one of our kinds to a list item by item, and gives the page's metadata.
func (s *Store) customPage(kind datastore.Kind, body []byte, list *datastore.List) (metav1.ListInterface, error) {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("decode a page: %w", err)
	}
	for _, item := range p.Items {
		o, err := s.decode(kind, item)
		if err != nil {
			var named metav1.PartialObjectMetadata
			if err := json.Unmarshal(item, &named); err != nil {
				return nil, fmt.Errorf("decode an item of a page: %w", err)
			}
			list.Unusable = append(list.Unusable, datastore.Unusable{Key: datastore.KeyOf(&named), Err: errUnusable(err)})
			continue
		}
		list.Items = append(list.Items, received(kind, o))
	}
	return &p, nil
}

// decode reads an object of ours, as far as that can be done.
func (s *Store) decode(kind datastore.Kind, body []byte) (runtime.Object, error) {
	o, err := s.scheme.New(kind.GroupVersionKind)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, o); err != nil {
		repaired, ok := repair.JSON(kind.String(), body)
		if o, _ = s.scheme.New(kind.GroupVersionKind); !ok || json.Unmarshal(repaired, o) != nil {
			return nil, err
		}
	}
	return o, nil
}
