package effects_test

import (
	"bytes"
	"context"
	"errors"
	"go/types"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/maneki-net/maneki/api/effects"
	"github.com/maneki-net/maneki/calicoctl"
	cniplugin "github.com/maneki-net/maneki/cni-plugin"
	"github.com/maneki-net/maneki/datastore"
	"github.com/maneki-net/maneki/felix/config"
	"github.com/maneki-net/maneki/kube-controllers/daemon"
)

// compare reports where what works and what the code has differ.
func compare(t *testing.T, what string, works, has []string) {
	t.Helper()
	for _, name := range works {
		if !slices.Contains(has, name) {
			t.Errorf("the %s %s is said to work, and the code does not have it", what, name)
		}
	}
	for _, name := range has {
		if !slices.Contains(works, name) {
			t.Errorf("the code has the %s %s, which is not said to work", what, name)
		}
	}
}

// working returns the names of what works.
func working(class effects.Class, on string) []string {
	var names []string
	for _, row := range effects.Rows(class) {
		if row.State == effects.Works && (on == "" || row.On == on) {
			names = append(names, row.Name)
		}
	}
	return names
}

// TestEffectsOfSettings: a setting works if and only if it is in Felix's table, and Felix reads it outside of that.
func TestEffectsOfSettings(t *testing.T) {
	c := theCode(t)
	var has []string
	for _, s := range config.Table {
		has = append(has, s.Name)
		if !slices.ContainsFunc(c.use("Config."+s.Name).read, func(by string) bool { return by != "felix/config" }) {
			t.Errorf("nothing reads the setting %s", s.Name)
		}
		row, _ := effects.Lookup(effects.Setting, "", s.Name)
		if field := strings.TrimPrefix(s.Field(), "spec."); !s.Local && row.On != field {
			t.Errorf("the setting %s is the field %q, and the table of effects says %q", s.Name, field, row.On)
		}
	}
	compare(t, "setting", working(effects.Setting, ""), has)
}

// calicoKey is an annotation, label or finalizer of Calico, and none of its API groups or versions.
var calicoKey = regexp.MustCompile(`^((cni|qos|lb|config|migration)\.)?projectcalico\.org/[A-Za-z0-9-]+$`)

// keysAllTheSame are keys without effect that are in the code, with the reason, and those that no user writes.
var keysAllTheSame = map[string]string{
	"cni.projectcalico.org/ipAddrs":     "of Namespaces it is dropped; of Pods it works",
	"cni.projectcalico.org/floatingIPs": "api/derive shows it as ipNATs",
	"projectcalico.org/v3":              "the version of the API",
}

// TestEffectsOfKeys: an annotation, label or finalizer that works is in the code, one without effect is not, and each
// of Calico's that is in the code has a row.
func TestEffectsOfKeys(t *testing.T) {
	c := theCode(t)
	known := map[string]bool{}
	for _, class := range []effects.Class{effects.Annotation, effects.Label, effects.Finalizer} {
		for _, row := range effects.Rows(class) {
			known[row.Name] = true
			switch in := c.texts[row.Name]; {
			case row.State == effects.Works && !in:
				t.Errorf("the %s %s of %s is said to work, and is nowhere in the code", class, row.Name, row.On)
			case row.State != effects.Works && in && !slices.Contains(row.Unless, effects.AnyValue) &&
				keysAllTheSame[row.Name] == "":
				t.Errorf("the %s %s of %s is said to have no effect, and is in the code", class, row.Name, row.On)
			}
		}
	}
	for text := range c.texts {
		if calicoKey.MatchString(text) && !known[text] && keysAllTheSame[text] == "" {
			t.Errorf("api/effects has no row of %s, which is in the code", text)
		}
	}
}

// TestEffectsOfCNI: a key of the CNI configuration works if and only if the plugin or Felix reads it.
func TestEffectsOfCNI(t *testing.T) {
	c := theCode(t)
	has := []string{"type"} // the runtime reads it
	for _, p := range c.packages {
		for pkg, name := range map[string]string{"felix/cniserver": "config", "cni-plugin": "networkConfig"} {
			if p.PkgPath == module+pkg {
				has = append(has, jsonPaths("", p.Types.Scope().Lookup(name).Type().Underlying().(*types.Struct))...)
			}
		}
	}
	slices.Sort(has)
	compare(t, "CNI key", working(effects.CNIKey, "configuration"), slices.Compact(has))
	for _, row := range effects.Rows(effects.CNIKey) {
		switch {
		case row.On != "installer":
		case row.State == effects.Works && !c.texts[row.Name]:
			t.Errorf("variable %s of the CNI installer is said to work, and is nowhere in the code", row.Name)
		case row.State != effects.Works:
			for _, value := range append([]string{"x"}, row.Unless...) {
				said := cniplugin.IgnoredVariables(
					func(name string) string { return map[string]string{row.Name: value}[name] })
				if told := len(said) == 1 && strings.HasSuffix(said[0], ": "+row.Why); told != row.Misses(value) {
					t.Errorf("with %s=%s the CNI installer says %q", row.Name, value, said)
				}
			}
		}
	}
}

func jsonPaths(at string, s *types.Struct) []string {
	var all []string
	for i := range s.NumFields() {
		name := jsonName(s.Tag(i))
		within, isStruct := s.Field(i).Type().(*types.Struct)
		switch {
		case name == "" || name == "-":
		case isStruct:
			all = append(all, jsonPaths(at+name+".", within)...)
		default:
			all = append(all, at+name)
		}
	}
	return all
}

// TestEffectsOfControllers: a variable works if and only if kube-controllers runs otherwise with another value, or
// refuses it; a controller if it is one of those that it runs.
func TestEffectsOfControllers(t *testing.T) {
	usual, err := daemon.ParseConfig(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range effects.Rows(effects.Controller) {
		if row.On != "environment" {
			continue
		}
		other, err := daemon.ParseConfig([]string{row.Name + "=x"}, nil)
		same := cmp.Equal(usual, other, cmpopts.IgnoreUnexported(daemon.Config{}))
		if has := err != nil || !same; has != (row.State == effects.Works) {
			t.Errorf("variable %s of kube-controllers: said to be %q, and it is read: %t", row.Name, row.State, has)
		}
	}
	compare(t, "controller", working(effects.Controller, "controller"),
		strings.Split(daemon.Defaults().EnabledControllers, ","))
}

// TestEffectsOfMetrics: a metric works if and only if its name is in the code, and each there has a row.
func TestEffectsOfMetrics(t *testing.T) {
	c := theCode(t)
	known := map[string]bool{}
	for _, row := range effects.Rows(effects.Metric) {
		known[row.Name] = true
		// The metrics that all programs have begin with the program's name.
		if in := c.texts[row.Name] || c.texts[strings.TrimPrefix(row.Name,
			row.On)]; in != (row.State == effects.Works) {
			t.Errorf("metric %s: said to be %q, in the code: %t", row.Name, row.State, in)
		}
	}
	for _, row := range effects.Rows(effects.CNIKey) {
		known[row.Name] = true // felix_socket
	}
	metric := regexp.MustCompile(`^(felix|typha|ipam|kube_controllers)_[a-z_]+$`)
	for text := range c.texts {
		if metric.MatchString(text) && !known[text] {
			t.Errorf("api/effects has no row of the metric %s, which is in the code", text)
		}
	}
}

// TestEffectsOfCommands: a command or flag works if and only if calicoctl has it.
func TestEffectsOfCommands(t *testing.T) {
	for _, row := range effects.Rows(effects.Command) {
		var complaints bytes.Buffer
		refused := errors.New("help needs no cluster")
		calicoctl.Run(context.Background(), calicoctl.Environment{
			Name: "calicoctl", In: strings.NewReader(""), Out: io.Discard, Err: &complaints,
			Getenv: func(string) string { return "" },
			Open:   func(calicoctl.Connection) (datastore.Store, error) { return nil, refused },
			Agents: func(calicoctl.Connection) (calicoctl.Agents, error) { return nil, refused },
		}, append(strings.Fields(row.On), strings.Fields("--help "+row.Name)...))
		// A flag that is there and needs an argument is missed that.
		has := complaints.Len() == 0 || strings.Contains(complaints.String(), "flag needs an argument")
		if has != (row.State == effects.Works) {
			t.Errorf("calicoctl %s %s: said to be %q, in the program: %t %s", row.On, row.Name, row.State, has,
				&complaints)
		}
	}
}
