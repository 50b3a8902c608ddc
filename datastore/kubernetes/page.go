package kubernetes

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"

	"github.com/maneki-net/maneki/datastore"
)

// page is a part of a list. Its items are decoded one by one, so that one that cannot be decoded does not affect the
// others.
type page struct {
	metav1.ListMeta `json:"metadata"`
	Items           []stdjson.RawMessage `json:"items"`
}

// page adds a page to a list, and returns the page's metadata.
func (s *Store) page(kind datastore.Kind, answer rest.Result, list *datastore.List) (metav1.ListMeta, error) {
	body, err := raw(answer)
	if err != nil {
		return metav1.ListMeta{}, err
	}
	var p page
	if isProtobuf(body) {
		p, err = splitProtobuf(body)
	} else {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		return metav1.ListMeta{}, fmt.Errorf("decode a page: %w", err)
	}
	for _, item := range p.Items {
		o, err := s.decode(kind, item)
		if err == nil {
			list.Items = append(list.Items, received(kind, o))
			continue
		}
		named, unnamed := namesOf(item)
		if unnamed != nil {
			return metav1.ListMeta{}, fmt.Errorf("decode an item of a page: %w", errors.Join(err, unnamed))
		}
		list.Unusable = append(list.Unusable, datastore.Unusable{Key: datastore.KeyOf(&named), Err: errUnusable(err)})
	}
	return p.ListMeta, nil
}

// raw returns the body of an answer. Only Error has the server's own message.
func raw(answer rest.Result) ([]byte, error) {
	if err := answer.Error(); err != nil {
		return nil, err
	}
	return answer.Raw()
}

// protobufPrefix begins every body that the API server sends as protobuf. A runtime.Unknown with the message follows
// (k8s.io/apimachinery/pkg/runtime/generated.proto).
var protobufPrefix = []byte("k8s\x00")

func isProtobuf(body []byte) bool { return bytes.HasPrefix(body, protobufPrefix) }

// The protobuf fields that all kinds and lists have in common.
const (
	metadataField protowire.Number = 1
	itemsField    protowire.Number = 2
)

// splitProtobuf splits a list into items. Each item has the form of a single object's body.
func splitProtobuf(body []byte) (page, error) {
	var p page
	message, err := protobufMessage(body)
	if err != nil {
		return p, err
	}
	return p, eachField(message, func(number protowire.Number, value []byte) error {
		switch number {
		case metadataField:
			return p.ListMeta.Unmarshal(value)
		case itemsField:
			item, err := (&runtime.Unknown{Raw: value}).Marshal()
			p.Items = append(p.Items, append(bytes.Clone(protobufPrefix), item...))
			return err
		}
		return nil
	})
}

func protobufMessage(body []byte) ([]byte, error) {
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(bytes.TrimPrefix(body, protobufPrefix)); err != nil {
		return nil, fmt.Errorf("decode the envelope of a message: %w", err)
	}
	return envelope.Raw, nil
}

// eachField calls do for each length-delimited field of a message, until do fails or the rest cannot be read.
func eachField(message []byte, do func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("decode a field: %w", protowire.ParseError(n))
		}
		message = message[n:]
		n = protowire.ConsumeFieldValue(number, kind, message)
		if n < 0 {
			return fmt.Errorf("decode field %d: %w", number, protowire.ParseError(n))
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(message)
			if err := do(number, value); err != nil {
				return fmt.Errorf("decode field %d: %w", number, err)
			}
		}
		message = message[n:]
	}
	return nil
}

// unmarshalProtobuf decodes an object.
func unmarshalProtobuf(body []byte, into runtime.Object) error {
	message, err := protobufMessage(body)
	if err != nil {
		return err
	}
	o, ok := into.(interface{ Unmarshal([]byte) error })
	if !ok {
		return fmt.Errorf("%T has no protobuf form", into)
	}
	return o.Unmarshal(message)
}

// protobufMetadata decodes the metadata of an object, even if a later field cannot be read.
func protobufMetadata(body []byte) (m metav1.ObjectMeta, err error) {
	message, err := protobufMessage(body)
	if err != nil {
		return m, err
	}
	var inside error
	err = eachField(message, func(number protowire.Number, value []byte) error {
		if number == metadataField {
			inside = m.Unmarshal(value)
		}
		return nil
	})
	if m.Name == "" {
		return m, fmt.Errorf("read the name of an object: %w", errors.Join(inside, err, errors.New("it has none")))
	}
	return m, nil
}
