package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// addressPatience is how long an address that a user wrote may be missing on the interfaces: after a boot they may come
// later than Felix.
const addressPatience = 2 * time.Minute

// written tells apart what a user wrote as the address of this node from what Felix wrote. As in Calico, what a user
// wrote counts. It is kept in a file, since the next process has to know it, too.
type written struct {
	path string // empty for none
	// Felix is what Felix wrote last, by annotation. Any other value is a user's.
	Felix map[string]string `json:"felix,omitempty"`
	// Before are the values that Felix wrote before, until the Node is seen with the last: a write can fail.
	Before map[string][]string `json:"before,omitempty"`
	// Refused are values of users that Felix replaced because they cannot be used, with the reason.
	Refused map[string]string `json:"refused,omitempty"`

	missing map[string]time.Time // since when no interface carries what a user wrote, by annotation
}

// readWritten reads the file. One that is missing or cannot be read says nothing: then each value that differs from
// what Felix would write is a user's.
func readWritten(path string) (*written, error) {
	w := &written{path: path, missing: map[string]time.Time{}}
	var err error
	if path != "" {
		var content []byte
		content, err = os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(content, w)
		}
	}
	if w.Felix == nil {
		w.Felix = map[string]string{}
	}
	if w.Before == nil {
		w.Before = map[string][]string{}
	}
	if w.Refused == nil {
		w.Refused = map[string]string{}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w, fmt.Errorf("read which addresses Felix wrote: %w", err)
	}
	return w, nil
}

func (w *written) save() error {
	if w.path == "" {
		return nil
	}
	content, err := json.Marshal(w)
	if err == nil {
		err = os.WriteFile(w.path+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(w.path+".new", w.path)
	}
	if err != nil {
		return fmt.Errorf("note which addresses Felix wrote: %w", err)
	}
	return nil
}

// own decides which addresses are the node's: of each family the one that a user wrote, if it can be used, or else the
// first that the Node has as InternalIP. An error says what has to be waited for.
func (w *written) own(facts *Facts, node *corev1.Node, internal []netip.Addr, families []dataplane.Family) error {
	var errs []error
	for _, family := range families {
		key := addressAnnotation(family)
		text := node.Annotations[key]
		felix := automatic(facts, internal, family)
		if text == w.Felix[key] {
			delete(w.Before, key)
		}
		felixs := text == w.Felix[key] || slices.Contains(w.Before[key], text) || felix.IsValid() &&
			text == felix.String()
		if text == "" || felixs {
			if text == "" {
				delete(w.Refused, key)
			}
			delete(w.missing, key)
			continue
		}
		delete(w.Refused, key)
		if err := w.user(facts, family, key, text); err != nil {
			errs = append(errs, err)
		}
		if w.Refused[key] != "" { // on etcd the same field is also the Node's first address
			internal = slices.DeleteFunc(slices.Clone(internal), func(addr netip.Addr) bool {
				prefix, err := parseAddress(text)
				return err == nil && prefix.Addr() == addr
			})
		}
	}
	return errors.Join(append(errs, facts.setOwn(internal))...)
}

// user makes what a user wrote the address of a family, or refuses it.
func (w *written) user(facts *Facts, family dataplane.Family, key, text string) error {
	prefix, err := parseAddress(text)
	if err != nil || dataplane.FamilyOf(prefix.Addr()) != family {
		w.Refused[key] = fmt.Sprintf("annotation %s: %q is not an %s address such as 172.30.0.11/24 or fd00::11/64",
			key, text, family)
		return nil
	}
	a := facts.Of(family)
	i := slices.IndexFunc(a.Connected, func(c Connected) bool { return c.Subnet.Addr() == prefix.Addr() })
	if i >= 0 {
		delete(w.missing, key)
		a.Addr, a.Device, a.User = prefix, a.Connected[i].Device, text
		if prefix.IsSingleIP() {
			a.Addr = a.Connected[i].Subnet
		}
		return nil
	}
	if w.missing[key].IsZero() {
		w.missing[key] = time.Now()
	}
	reason := fmt.Sprintf("annotation %s: no interface of this node carries %s", key, prefix.Addr())
	if time.Since(w.missing[key]) < addressPatience {
		return errors.New(reason)
	}
	w.Refused[key] = reason
	return nil
}

// automatic returns what Felix writes as the address of a family on its own, as far as an interface carries it.
func automatic(facts *Facts, internal []netip.Addr, family dataplane.Family) netip.Prefix {
	for _, c := range facts.Of(family).Connected {
		if slices.Contains(internal, c.Subnet.Addr()) {
			return c.Subnet
		}
	}
	return netip.Prefix{}
}

// parseAddress reads an address with or without the length of its subnet.
func parseAddress(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// note records what Felix is about to write, and returns what the values of users were replaced for.
func (w *written) note(values map[string]string, facts *Facts) ([]string, error) {
	var replaced []string
	changed := false
	for _, family := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
		key := addressAnnotation(family)
		if value := values[key]; facts.Of(family).User == "" && w.Felix[key] != value {
			w.Before[key] = append(w.Before[key], w.Felix[key])
			w.Felix[key], changed = value, true
		}
		if reason := w.Refused[key]; reason != "" {
			used := "the node has no other"
			if w.Felix[key] != "" {
				used = "it was replaced by the InternalIP " + w.Felix[key]
			}
			replaced = append(replaced, reason+"; "+used)
		}
	}
	if !changed {
		return replaced, nil
	}
	return replaced, w.save()
}
