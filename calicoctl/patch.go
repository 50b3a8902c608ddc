package calicoctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	yamlv3 "go.yaml.in/yaml/v3"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/maneki-net/maneki/api/validate"
	"github.com/maneki-net/maneki/calicoctl/manifest"
	"github.com/maneki-net/maneki/datastore"
)

// patcher gives the JSON of an object with a patch.
type patcher func(original, patch []byte, object datastore.Object) ([]byte, error)

// patchTypes are the values of --type.
var patchTypes = map[string]patcher{
	// Our lists have no keys to merge by, so that this is a merge with the directives $patch and $retainKeys.
	"strategic": func(original, patch []byte, object datastore.Object) ([]byte, error) {
		return strategicpatch.StrategicMergePatch(original, patch, object)
	},
	"merge": func(original, patch []byte, _ datastore.Object) ([]byte, error) {
		return jsonpatch.MergePatch(original, patch)
	},
	"json": func(original, patch []byte, _ datastore.Object) ([]byte, error) {
		operations, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, err
		}
		return operations.Apply(original)
	},
}

func (t *tool) patchCommand() *cobra.Command {
	var in input
	var dry dryRun
	var patch, kind string
	types := slices.Sorted(maps.Keys(patchTypes))
	command := &cobra.Command{
		Use: "patch TYPE NAME -p PATCH", Short: "Change fields of a resource",
		Long: "Change fields of a resource. PATCH is JSON or YAML: by default the fields to set, where null removes " +
			"one and a list\n" +
			"replaces the whole list; with --type=json a list of operations (RFC 6902).",
		Example: "  calicoctl patch ippool default-pool -p '{\"spec\": {\"natOutgoing\": true}}'\n" +
			"  calicoctl patch node node1 -p '{\"spec\": {\"bgp\": {\"routeReflectorClusterID\": \"244.0.0.1\"}}}'",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: t.completeNames,
		RunE: func(command *cobra.Command, args []string) error {
			apply, ok := patchTypes[kind]
			if !ok {
				return fmt.Errorf("--type=%s: must be one of %s", kind, strings.Join(types, ", "))
			}
			change, err := readPatch(patch)
			if err != nil {
				return err
			}
			m := modification{verb: "patch", past: "patched", namespace: in.namespace, dry: dry}
			return t.modify(command.Context(), args, m, func(o datastore.Object) (datastore.Object, error) {
				d, err := patchObject(o, change, apply)
				if err == nil {
					t.warnAbout(d.Name(), append(d.Warnings, validate.Warnings(d.Object)...))
				}
				return d.Object, err
			})
		},
	}
	in.namespaceFlag(command)
	dry.flag(command)
	command.Flags().StringVarP(&patch, "patch", "p", "", "the patch")
	command.Flags().StringVarP(&kind, "type", "t", "strategic", strings.Join(types, ", "))
	fixed(command, "type", types...)
	required(command, "patch")
	return command
}

// readPatch returns a patch as JSON.
func readPatch(text string) ([]byte, error) {
	lines := strings.Split(text, "\n")
	var node yamlv3.Node
	err := yamlv3.Unmarshal([]byte(text), &node)
	if err != nil {
		return nil, fmt.Errorf("read the patch: %w", manifest.SyntaxError(err, lines))
	}
	if err := manifest.CheckTags(&node, lines); err != nil {
		return nil, fmt.Errorf("read the patch: %w", err)
	}
	change, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("read the patch: %w", err)
	}
	return change, nil
}

// patchObject returns the object with a patch, read as strictly as a manifest.
func patchObject(object datastore.Object, patch []byte, apply patcher) (manifest.Document, error) {
	original, err := json.Marshal(object)
	if err != nil {
		return manifest.Document{}, fmt.Errorf("encode: %w", err)
	}
	patched, err := apply(original, patch, object)
	if err != nil {
		return manifest.Document{}, fmt.Errorf("apply the patch: %w", err)
	}
	d := manifest.Decode(patched, nil)
	if d.Err != nil {
		return manifest.Document{}, d.Err
	}
	before, after := d.Object.GetObjectKind().GroupVersionKind(), object.GetObjectKind().GroupVersionKind()
	key := datastore.KeyOf(d.Object)
	if before != after || key != datastore.KeyOf(object) {
		return manifest.Document{}, errors.New("a patch cannot change the kind, namespace or name")
	}
	return d, judged(d.Object, d.Missing)
}

func (t *tool) labelCommand() *cobra.Command {
	var in input
	var dry dryRun
	var overwrite, remove bool
	command := &cobra.Command{
		Use: "label TYPE NAME (KEY=VALUE... | KEY... --remove)", Short: "Set or remove labels of a resource",
		Example: "  calicoctl label node node1 rack=1\n  calicoctl label node node1 rack=2 --overwrite\n  calicoctl " +
			"label node node1 rack --remove",
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: t.completeNames,
		RunE: func(command *cobra.Command, args []string) error {
			// TYPE/NAME is one argument, TYPE NAME are two.
			count := 2
			if strings.Contains(args[0], "/") {
				count = 1
			}
			changes, err := labelChanges(args[min(count, len(args)):], remove)
			if err != nil {
				return err
			}
			m := modification{verb: "label", past: "labeled", namespace: in.namespace, dry: dry}
			return t.modify(command.Context(), args[:count], m, func(o datastore.Object) (datastore.Object, error) {
				return o, relabel(o, changes, overwrite)
			})
		},
	}
	in.namespaceFlag(command)
	dry.flag(command)
	command.Flags().BoolVar(&overwrite, "overwrite", false, "change the value of labels that are there")
	command.Flags().BoolVar(&remove, "remove", false, "remove the labels with these keys")
	return command
}

// labelChanges reads key=value, or with remove key, whose value is then nil.
func labelChanges(args []string, remove bool) (map[string]*string, error) {
	if len(args) == 0 {
		return nil, errors.New("say which labels: KEY=VALUE, or KEY --remove")
	}
	changes := map[string]*string{}
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if found == remove {
			return nil, fmt.Errorf("label %q: must be KEY=VALUE, or KEY with --remove", arg)
		}
		errs := metav1validation.ValidateLabels(map[string]string{key: value}, field.NewPath("metadata", "labels"))
		if err := errs.ToAggregate(); err != nil {
			return nil, err
		}
		changes[key] = &value
		if remove {
			changes[key] = nil
		}
	}
	return changes, nil
}

// relabel changes labels; a key that is to be set has another value only with overwrite, and one to be removed is
// there.
func relabel(object datastore.Object, changes map[string]*string, overwrite bool) error {
	labels := maps.Clone(object.GetLabels())
	if labels == nil {
		labels = map[string]string{}
	}
	for key, value := range changes {
		current, found := labels[key]
		switch {
		case value == nil && !found:
			return fmt.Errorf("there is no label %s to remove", key)
		case value == nil:
			delete(labels, key)
		case found && current != *value && !overwrite:
			return fmt.Errorf("label %s has the value %q already: --overwrite changes it", key, current)
		default:
			labels[key] = *value
		}
	}
	object.SetLabels(labels)
	return nil
}

// modification is a command that changes one object.
type modification struct {
	verb, past, namespace string
	dry                   dryRun
}

// modify changes one object that arguments name, and starts over when somebody else did in between. change is given a
// copy.
func (t *tool) modify(ctx context.Context, args []string, m modification,
	change func(datastore.Object) (datastore.Object, error)) error {
	s, err := selected(args, m.namespace)
	if err != nil {
		return err
	}
	key, err := s.one()
	if err != nil {
		return err
	}
	store, err := t.store(ctx, m.dry)
	if err != nil {
		return err
	}
	return t.each(m.verb, []manifest.Document{manifest.Named(s.kind, key)}, 0, func(manifest.Document) (string, error) {
		for {
			current, err := store.Get(ctx, s.kind, key)
			if err != nil {
				return "", err
			}
			changed, err := change(current.DeepCopyObject().(datastore.Object))
			if err != nil {
				return "", err
			}
			updated, err := store.Update(ctx, s.kind, changed)
			if err == nil && m.dry == dryNone {
				t.warnLeftOut(ctx, store, m.verb+" "+s.kind.String()+" "+key.String(), changed)
			}
			switch {
			case errors.Is(err, datastore.ErrConflict) && changed.GetResourceVersion() == current.GetResourceVersion():
				continue
			case err == nil && same(current, updated):
				return "unchanged", nil
			}
			return m.past + m.dry.suffix(), err
		}
	})
}
