package calicoctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// getting is one run of get.
type getting struct {
	*tool
	in                                input
	format, selector                  string
	everywhere, export, watch, events bool

	store    datastore.Store
	printer  *printer
	selects  labels.Selector
	selected selection
	unusable error // when something that is stored could not be shown
}

func (t *tool) getCommand() *cobra.Command {
	g := getting{tool: t}
	command := &cobra.Command{
		Use: "get (TYPE [NAME...] | -f FILE)", Short: "Show resources",
		Example: "  calicoctl get ippools -o wide\n  calicoctl get networkpolicies -A\n" +
			"  calicoctl get ippool default-pool -o yaml --export > pool.yaml\n" +
			"  calicoctl get nodes -o custom-columns=NAME,IPV4\n" +
			"  calicoctl get ippools -o go-template='{{range .}}{{range .Items}}{{.Spec.CIDR}} {{end}}{{end}}'",
		ValidArgsFunction: t.completeNames,
		RunE:              g.run,
	}
	g.in.flags(command)
	f := command.Flags()
	f.BoolVarP(&g.everywhere, "all-namespaces", "A", false, "list the resources of all namespaces")
	f.BoolVarP(&g.everywhere, "all", "a", false, "")
	_ = f.MarkHidden("all") // as older versions call it
	f.StringVarP(&g.format, "output", "o", "ps",
		"ps (a table), wide, yaml, json, name, custom-columns=COLUMN,…, go-template=TEMPLATE or go-template-file=FILE")
	f.StringVar(&g.selector, "selector", "", "show those with these labels, as in kubectl: rack=1,env!=prod")
	f.BoolVar(&g.export, "export", false,
		"leave out what belongs to this cluster, so that the output can be applied to another")
	f.BoolVarP(&g.watch, "watch", "w", false, "go on and show every change")
	f.BoolVar(&g.events, "output-watch-events", false, "with --watch: say what happened to each")
	fixed(command, "output", formats...)
	return command
}

func (g *getting) run(command *cobra.Command, args []string) error {
	ctx := command.Context()
	var err error
	g.printer, err = newPrinter(g.Out, g.format)
	if err != nil {
		return err
	}
	g.selects, err = labels.Parse(g.selector)
	if err != nil {
		return fmt.Errorf("--selector=%s: %w", g.selector, err)
	}
	g.printer.namespaces = g.everywhere || command.Flags().Changed("namespace")
	g.printer.globalASN = func() string { return globalASN(ctx, g.store) }
	list := len(args) > 0 && len(g.in.files) == 0
	if list {
		g.selected, err = selected(args, g.in.namespace)
		if err != nil {
			return err
		}
		list = len(g.selected.names) == 0
	}
	switch {
	case !list && g.everywhere && len(args) > 0:
		return errors.New("-A is for lists: a name is in one namespace, -n")
	case !list && g.selector != "":
		return errors.New("--selector is for lists")
	case g.watch && (len(args) == 0 || len(g.in.files) > 0):
		return errors.New("-w watches one TYPE, or some of it by NAME")
	}
	if g.everywhere {
		g.selected.namespace = ""
	}
	g.store, err = g.tool.store(ctx, dryNone)
	if err != nil {
		return err
	}
	switch {
	case g.watch:
		return g.follow(ctx)
	case list:
		found, _, err := g.list(ctx)
		if err != nil {
			return err
		}
		if err := g.printer.print(g.selected.kind, found, true); err != nil {
			return err
		}
		return g.unusable
	}
	return g.some(ctx, args)
}

// some shows the resources that arguments or files name.
func (g *getting) some(ctx context.Context, args []string) error {
	documents, bad, err := g.named(&g.in, args, false)
	if err != nil {
		return err
	}
	var found []datastore.Object
	for _, d := range documents {
		object, err := g.store.Get(ctx, d.Kind, datastore.KeyOf(d.Object))
		if err != nil {
			g.complain(d.Name(), err)
			bad++
			continue
		}
		found = append(found, g.clean(object))
	}
	if err := g.printAll(found, len(documents) > 1); err != nil {
		return err
	}
	if bad > 0 {
		return errReported
	}
	return nil
}

// printAll shows objects of any kinds, in their order.
func (g *getting) printAll(objects []datastore.Object, asList bool) error {
	groups := byKind(objects)
	if encoded := g.printer.format == "yaml" || g.printer.format == "json"; encoded && len(groups) > 1 {
		return encode(g.Out, g.printer.format, listing("v1", "List", objects))
	}
	for i, group := range groups {
		if i > 0 && g.printer.isTable() {
			fmt.Fprintln(g.Out)
		}
		if err := g.printer.print(group.kind, group.objects, asList && g.printer.format != "go-template"); err != nil {
			return err
		}
	}
	return nil
}

// list returns the objects of the selected kind, which are sorted by name but for tiers, and the revision to watch
// from.
func (g *getting) list(ctx context.Context) ([]datastore.Object, string, error) {
	list, err := g.store.List(ctx, g.selected.kind, datastore.ListOptions{Namespace: g.selected.namespace})
	if err != nil {
		return nil, "", explained(err)
	}
	var found []datastore.Object
	for _, u := range list.Unusable {
		g.complain(fmt.Sprintf("%s %s", g.selected.kind, u.Key), u.Err)
		g.unusable = errReported
	}
	for _, object := range list.Items {
		if g.wanted(object) {
			found = append(found, g.clean(object))
		}
	}
	if g.selected.kind == datastore.Tiers {
		slices.SortStableFunc(found, func(a, b datastore.Object) int {
			return compareOrder(a.(*v3.Tier),
				b.(*v3.Tier))
		})
	}
	return found, list.Revision, nil
}

// wanted reports whether an object of the kind is among those that were asked for.
func (g *getting) wanted(object datastore.Object) bool {
	return g.selects.Matches(labels.Set(object.GetLabels())) &&
		(len(g.selected.names) == 0 || slices.Contains(g.selected.names, object.GetName()))
}

// clean leaves of an object what was asked for.
func (g *getting) clean(object datastore.Object) datastore.Object {
	if g.export {
		object = object.DeepCopyObject().(datastore.Object)
		export(object)
	}
	return object
}

// compareOrder puts tiers in the order in which they decide.
func compareOrder(a, b *v3.Tier) int {
	switch {
	case a.Spec.Order == nil && b.Spec.Order == nil:
		return 0
	case a.Spec.Order == nil:
		return 1
	case b.Spec.Order == nil:
		return -1
	}
	return cmp.Compare(*a.Spec.Order, *b.Spec.Order)
}

// globalASN is the AS number of nodes that have none of their own.
func globalASN(ctx context.Context, store datastore.Store) string {
	standard := strconv.Itoa(v3.DefaultASNumber)
	config, err := datastore.Get[*v3.BGPConfiguration](ctx, store, datastore.BGPConfigurations,
		datastore.Key{Name: "default"})
	switch {
	case errors.Is(err, datastore.ErrNotFound):
		return standard
	case err != nil:
		return "unknown"
	}
	return cmp.Or(ifSet(config.Spec.ASNumber), standard)
}

type group struct {
	kind    datastore.Kind
	objects []datastore.Object
}

// byKind splits objects into runs of one kind, in their order.
func byKind(objects []datastore.Object) []group {
	var groups []group
	for _, object := range objects {
		kind, err := datastore.KindOf(object)
		if err != nil {
			panic(err)
		}
		if n := len(groups); n == 0 || groups[n-1].kind != kind {
			groups = append(groups, group{kind: kind})
		}
		last := &groups[len(groups)-1]
		last.objects = append(last.objects, object)
	}
	return groups
}
