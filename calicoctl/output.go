package calicoctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// formats are the values of -o; those with = take an argument.
var formats = []string{"ps", "wide", "yaml", "json", "name", "custom-columns=", "go-template=", "go-template-file="}

// printer shows objects as -o says.
type printer struct {
	out     io.Writer
	format  string
	columns []string           // of custom-columns
	text    *template.Template // of go-template
	// namespaces says whether tables have a column for them, and globalASN gives the AS number of nodes without their
	// own.
	namespaces bool
	globalASN  func() string
}

// newPrinter reads the value of -o.
func newPrinter(out io.Writer, value string) (*printer, error) {
	format, argument, hasArgument := strings.Cut(value, "=")
	if format == "yml" {
		format = "yaml"
	}
	p := &printer{out: out, format: format}
	known := slices.Contains(formats, format) && !hasArgument
	if !known && !slices.Contains(formats, format+"=") {
		return nil, fmt.Errorf("-o %s: must be one of %s", value, strings.Join(formats, ", "))
	}
	if !known && argument == "" {
		return nil, fmt.Errorf("-o %s: say what after %s=", value, format)
	}
	switch format {
	case "custom-columns":
		p.columns = strings.Split(argument, ",")
	case "go-template-file":
		text, err := os.ReadFile(argument)
		if err != nil {
			return nil, fmt.Errorf("-o %s: %w", value, err)
		}
		p.format, argument = "go-template", string(text)
		fallthrough
	case "go-template":
		var err error
		p.text, err = template.New("output").Funcs(template.FuncMap{
			"join":            func(items any, separator string) string { return join(items, separator, 0) },
			"joinAndTruncate": join,
			"config":          p.config,
		}).Parse(argument)
		if err != nil {
			return nil, fmt.Errorf("-o %s: %w", format, err)
		}
	}
	return p, nil
}

// config is the template function of this name: a setting of the whole cluster.
func (p *printer) config(name string) (string, error) {
	if strings.EqualFold(name, "asnumber") {
		return p.globalASN(), nil
	}
	return "", errors.New(`config: must be "asnumber"`)
}

// isTable reports whether the output is a table with headings.
func (p *printer) isTable() bool {
	return slices.Contains([]string{"ps", "wide", "custom-columns"}, p.format)
}

// print shows objects of one kind; asList keeps even a single one in a list, as it was asked for.
func (p *printer) print(kind datastore.Kind, objects []datastore.Object, asList bool) error {
	for _, object := range objects {
		object.SetManagedFields(nil)
		object.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	}
	switch p.format {
	case "yaml", "json":
		if len(objects) == 1 && !asList {
			return encode(p.out, p.format, objects[0])
		}
		return encode(p.out, p.format, listing(v3.GroupVersion.String(), kind.String()+"List", objects))
	case "name":
		for _, object := range objects {
			fmt.Fprintf(p.out, "%s/%s\n", strings.ToLower(kind.String()), object.GetName())
		}
		return nil
	case "go-template":
		return p.executeTemplate(kind, objects, asList)
	}
	columns, err := p.columnsOf(kind)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, object := range objects {
		rows = append(rows, row(columns, object))
	}
	return table(p.out, headings(columns), rows)
}

func headings(columns []column) []string {
	var cells []string
	for _, c := range columns {
		cells = append(cells, c.heading)
	}
	return cells
}

func row(columns []column, object datastore.Object) []string {
	var cells []string
	for _, c := range columns {
		cells = append(cells, c.value(object))
	}
	return cells
}

// executeTemplate gives a template what Calico's calicoctl gives it: a slice of objects or, when all of a kind were
// asked for, of their list.
func (p *printer) executeTemplate(kind datastore.Kind, objects []datastore.Object, asList bool) error {
	var items []runtime.Object
	for _, object := range objects {
		items = append(items, object)
	}
	if asList {
		list, err := listOf(kind, items)
		if err != nil {
			return err
		}
		items = []runtime.Object{list}
	}
	if err := p.text.Execute(p.out, items); err != nil {
		return fmt.Errorf("execute the template: %w", err)
	}
	return nil
}

// listOf returns the list of a kind, for example an IPPoolList.
func listOf(kind datastore.Kind, items []runtime.Object) (runtime.Object, error) {
	scheme := runtime.NewScheme()
	if err := v3.AddToScheme(scheme); err != nil {
		return nil, err
	}
	list, err := scheme.New(kind.GroupVersion().WithKind(kind.String() + "List"))
	if err != nil {
		return nil, err
	}
	return list, meta.SetList(list, items)
}

// listing is a list as yaml and json encode it.
func listing(version, kind string, objects []datastore.Object) map[string]any {
	if objects == nil {
		objects = []datastore.Object{}
	}
	return map[string]any{"apiVersion": version, "kind": kind, "metadata": struct{}{}, "items": objects}
}

// export takes off an object what only the cluster that it is in can say, so that the rest can be applied anywhere.
func export(object datastore.Object) {
	annotations := maps.Clone(object.GetAnnotations())
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if len(annotations) == 0 {
		annotations = nil
	}
	o := reflect.ValueOf(object).Elem()
	o.FieldByName("ObjectMeta").Set(reflect.ValueOf(metav1.ObjectMeta{
		Name: object.GetName(), Namespace: object.GetNamespace(), Labels: object.GetLabels(),
		Annotations: annotations}))
	if status := o.FieldByName("Status"); status.IsValid() {
		status.SetZero()
	}
}

func encode(out io.Writer, format string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err == nil && format == "yaml" {
		data, err = yaml.JSONToYAML(data)
	}
	if err != nil {
		return fmt.Errorf("encode as %s: %w", format, err)
	}
	_, err = fmt.Fprintln(out, strings.TrimSuffix(string(data), "\n"))
	return err
}

// table prints rows in columns under their headings.
func table(out io.Writer, headings []string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, strings.Join(headings, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
