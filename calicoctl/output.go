package calicoctl

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/datastore"
)

// formats are the values of -o.
var formats = []string{"", "wide", "yaml", "json", "name"}

func checkFormat(format string) error {
	if !slices.Contains(formats, format) {
		return fmt.Errorf("-o %s: must be one of wide, yaml, json, name", format)
	}
	return nil
}

// print shows objects of one kind; asList keeps even a single one in a list, as it was asked for.
func (t *tool) print(kind datastore.Kind, objects []datastore.Object, format string, asList bool) error {
	switch format {
	case "yaml", "json":
		return encode(t.Out, format, shown(kind, objects, asList))
	case "name":
		for _, object := range objects {
			fmt.Fprintf(t.Out, "%s/%s\n", strings.ToLower(kind.String()), object.GetName())
		}
		return nil
	}
	columns := columnsOf(kind, format == "wide")
	rows := make([][]string, 0, len(objects))
	for _, object := range objects {
		var row []string
		for _, column := range columns {
			row = append(row, column.value(object))
		}
		rows = append(rows, row)
	}
	var headings []string
	for _, column := range columns {
		headings = append(headings, column.heading)
	}
	return table(t.Out, headings, rows)
}

// shown is what yaml and json encode. Field managers are left out: they are bookkeeping of the API server, longer
// than the resource.
func shown(kind datastore.Kind, objects []datastore.Object, asList bool) any {
	for _, object := range objects {
		object.SetManagedFields(nil)
		object.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
	}
	if len(objects) == 1 && !asList {
		return objects[0]
	}
	if objects == nil {
		objects = []datastore.Object{}
	}
	return map[string]any{
		"apiVersion": v3.GroupVersion.String(), "kind": kind.String() + "List", "metadata": struct{}{}, "items": objects,
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
