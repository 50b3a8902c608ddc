package calicoctl

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/calicoctl/convert"
	"github.com/maneki-net/maneki/datastore"
)

func (t *tool) convertCommand() *cobra.Command {
	var in input
	var format string
	var ignore bool
	command := &cobra.Command{
		Use: "convert -f FILE", Short: "Rewrite manifests of older Calico and of flannel as projectcalico.org/v3",
		Args: cobra.NoArgs,
		Long: "Rewrite manifests as projectcalico.org/v3: those of Calico 2 (API v1), of crd.projectcalico.org/v1, " +
			"and flannel's ConfigMap\n" +
			"with net-conf.json. The result goes to standard output; what has no place in it is named on standard " +
			"error. Nothing is applied.",
		RunE: func(*cobra.Command, []string) error {
			if format == "yml" {
				format = "yaml"
			}
			if format != "yaml" && format != "json" {
				return fmt.Errorf("-o %s: must be yaml or json", format)
			}
			if len(in.files) == 0 {
				return errors.New("say what: -f FILE, -f FOLDER, or -f - for standard input")
			}
			var results []convert.Result
			for _, file := range in.files {
				err := t.open(file, in.recursive, func(source string, manifest io.Reader) error {
					results = append(results, convert.Read(source, manifest)...)
					return nil
				})
				if err != nil {
					return err
				}
			}
			return t.converted(results, format, !ignore, in.skipEmpty)
		},
	}
	in.flags(command)
	command.Flags().StringVarP(&format, "output", "o", "yaml", "yaml or json")
	command.Flags().BoolVar(&ignore, "ignore-validation", false, "write resources that the cluster will refuse as well")
	fixed(command, "output", "yaml", "json")
	return command
}

// converted prints what documents became, and what could not be done.
func (t *tool) converted(results []convert.Result, format string, judge, acceptEmpty bool) error {
	var objects []datastore.Object
	bad := 0
	for _, r := range results {
		name := strings.TrimSpace(fmt.Sprintf("%s (%s:%d)", r.Name, r.Source, r.Line))
		for _, remark := range r.Remarks {
			fmt.Fprintf(t.Err, "%s: %s\n", name, remark)
		}
		if r.Err != nil {
			t.complain(name, r.Err)
			if !r.Foreign() {
				bad++
			}
		}
		for _, d := range r.Resources {
			t.warnAbout(d.Name(), d.Warnings)
			if err := judged(d.Complete, d.Missing); judge && err != nil {
				t.complain(d.Name(), err)
				bad++
				continue
			}
			t.warn(d)
			objects = append(objects, d.Object)
		}
	}
	if err := t.printConverted(objects, format); err != nil {
		return err
	}
	switch {
	case bad > 0:
		fmt.Fprintf(t.Err, "Error: failed to convert %d resources\n", bad)
		return errReported
	case len(objects) == 0 && !acceptEmpty:
		return errors.New("there is nothing to convert (--skip-empty accepts that)")
	}
	return nil
}

// printConverted prints documents of YAML, or a list of JSON.
func (t *tool) printConverted(objects []datastore.Object, format string) error {
	if format == "json" {
		return encode(t.Out, format, listing("v1", "List", objects))
	}
	for i, object := range objects {
		if i > 0 {
			fmt.Fprintln(t.Out, "---")
		}
		if err := encode(t.Out, format, object); err != nil {
			return err
		}
	}
	return nil
}
