package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v3 "github.com/maneki-net/maneki/api/v3"
	"github.com/maneki-net/maneki/felix/config"
)

func source(name string, values ...string) config.Source {
	s := config.Source{Name: name, Values: map[string]string{}}
	for i := 0; i < len(values); i += 2 {
		s.Values[values[i]] = values[i+1]
	}
	return s
}

func resource(name string, values ...string) config.Source {
	s := source(name, values...)
	s.Resource = true
	return s
}

func TestDefaults(t *testing.T) {
	c, err := config.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if c.VXLANPort != 4789 || c.IptablesMarkMask != 0xffff0000 || c.RouteRefreshInterval != 90*time.Second ||
		!c.Ipv6Support ||
		c.DefaultEndpointToHostAction != "DROP" || c.IptablesBackend != "auto" {
		t.Errorf("defaults: %+v", c)
	}
}

// TestPrecedence: each source gives what no more important one does.
func TestPrecedence(t *testing.T) {
	c, err := config.Resolve(
		config.Environment([]string{"FELIX_VXLANPORT=1", "felix_LogPrefix=e", "PATH=/bin"}),
		source("file", "VXLANPort", "2", "VXLANVNI", "2"),
		resource("node", "VXLANPort", "3", "VXLANVNI", "3", "VXLANMTU", "3"),
		resource("global", "VXLANPort", "4", "VXLANVNI", "4", "VXLANMTU", "4", "VXLANMTUV6", "4"))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{int(c.VXLANPort), c.LogPrefix, c.VXLANVNI, c.VXLANMTU, c.VXLANMTUV6}
	if diff := cmp.Diff([]any{1, "e", 2, 3, 4}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInstallationDefaults: what an installation sets as a default holds where nothing else says otherwise, wherever
// it stands.
func TestInstallationDefaults(t *testing.T) {
	defaults := config.Defaults([]string{"FELIXDEFAULT_VXLANPORT=1", "felixdefault_LogPrefix=d",
		"FELIXDEFAULT_VXLANVNI=none", "FELIX_VXLANMTU=5"})
	c, err := config.Resolve(defaults, resource("global", "VXLANPort", "4"))
	if got := []any{int(c.VXLANPort), c.LogPrefix, c.VXLANVNI, c.VXLANMTU}; !cmp.Equal(got, []any{4, "d", 4096, 0}) {
		t.Errorf("got %v", got)
	}
	if err == nil || !strings.Contains(err.Error(), "VXLANVNI of the defaults of the installation") {
		t.Errorf("of a default that cannot be used: %v", err)
	}
}

// TestHidden: a field of a resource that the environment or the file takes the effect from is named, with what holds.
func TestHidden(t *testing.T) {
	got := config.Hidden(
		config.Environment([]string{"FELIX_VXLANPORT=4790", "FELIX_VXLANVNI=x", "FELIX_LOGPREFIX=e",
			"FELIX_TYPHAADDR=a:1"}),
		source("the file", "VXLANMTU", "1400"),
		resource("FelixConfiguration node.n1", "VXLANPort", "4790", "VXLANVNI", "7", "VXLANMTU", "1300", "LogPrefix",
			"n", "RouteRefreshInterval", "90s"),
		resource("FelixConfiguration default", "VXLANPort", "4791", "VXLANVNI", "8", "VXLANMTU", "many",
			"RouteRefreshInterval", "60", "TyphaAddr", "b:1"),
		config.Defaults([]string{"FELIXDEFAULT_VXLANPORT=1", "FELIXDEFAULT_MAXIPSETSIZE=7"}))
	want := []string{
		`FelixConfiguration node.n1: logPrefix "n" does not hold on this node: the environment says e`,
		`FelixConfiguration node.n1: vxlanMTU "1300" does not hold on this node: the file says 1400`,
		`FelixConfiguration default: vxlanPort "4791" does not hold on this node: the environment says 4790`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFields: a setting is named as the resource has it.
func TestFields(t *testing.T) {
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[v3.FelixConfigurationSpec]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = true
	}
	for _, s := range config.Table {
		if !s.Local && !fields[s.Field()] {
			t.Errorf("%s: the FelixConfiguration has no field %s", s.Name, s.Field())
		}
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		name, value string
		problem     string // part of the error; empty if it can be used
	}{
		{"VXLANPort", "70000", "write a port, 0 to 65535"},
		{"VXLANMTU", "-1", "write a whole number, 0 to 65535"},
		{"IptablesBackend", "NFT", ""},
		{"IptablesBackend", "ipfw", "write one of auto, legacy, nft"},
		{"IptablesMarkMask", "0x7", "write a 32-bit mask with at least 4 bits set"},
		{"IptablesMarkMask", "0xf0", ""},
		{"RouteRefreshInterval", "1m30s", ""},
		{"RouteRefreshInterval", "2.5", ""},
		{"RouteRefreshInterval", "-2", "write a number of seconds"},
		{"Ipv6Support", "yes", ""},
		{"Ipv6Support", "maybe", "write true or false"},
		{"NATOutgoingAddress", "10.0.0.1", ""},
		{"NATOutgoingAddress", "10.0.0", "write an IP address"},
		{"MTUIfacePattern", "(", "write a regular expression"},
		{"TyphaAddr", "typha:5473", "it can be set in the environment or the configuration file only"},
		{"BPFEnabled", "true", ""},
		{"VXLANPrt", "1", "there is no such setting"},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			_, err := config.Resolve(resource("r", test.name, test.value))
			switch {
			case err == nil && test.problem != "":
				t.Error("no error")
			case err != nil && (test.problem == "" || !strings.Contains(err.Error(), test.name+" of r") ||
				!strings.Contains(err.Error(), test.problem)):
				t.Error(err)
			}
		})
	}
}

// TestUnusable: a value that cannot be used counts as not given.
func TestUnusable(t *testing.T) {
	c, err := config.Resolve(source("environment", "VXLANPort", "x"),
		source("file", "VXLANPort", "5", "LogPrefix", "p"))
	if err == nil || c.VXLANPort != 5 || c.LogPrefix != "p" {
		t.Errorf("got port %d, %v", c.VXLANPort, err)
	}
}

func TestNeedsRestart(t *testing.T) {
	resolve := func(values ...string) *config.Config {
		c, err := config.Resolve(source("s", values...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if config.NeedsRestart(resolve(), resolve("VXLANPort", "1", "LogSeverityScreen", "DEBUG")) {
		t.Error("settings that apply at once need a restart")
	}
	if !config.NeedsRestart(resolve(), resolve("Ipv6Support", "false")) {
		t.Error("a setting that is read at the start needs none")
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "felix.cfg")
	none, err := config.ReadFile(path)
	if err != nil || len(none.Values) != 0 {
		t.Errorf("no file: %v, %v", none, err)
	}
	if err := os.WriteFile(path, []byte("[global]\n# comment\n\nVXLANPort = 5\nlogprefix=a = b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := config.ReadFile(path)
	if diff := cmp.Diff(map[string]string{"VXLANPort": "5", "logprefix": "a = b"}, got.Values); diff != "" ||
		err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := os.WriteFile(path, []byte("VXLANPort\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadFile(path); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a line without a value: %v", err)
	}
}

// TestMissing: Calico's other settings are accepted. Of those that ask for what is missing, the most important source
// is named, with the reason, and those that ask for protection stand apart.
func TestMissing(t *testing.T) {
	sources := []config.Source{
		config.Environment([]string{"FELIX_WIREGUARDENABLED=no", "FELIX_DATAPLANEDRIVER=/bin/other",
			"FELIX_BPFENABLED=1", "FELIX_VXLANPORT=1"}),
		source("the file", "ChainInsertMode", "Append", "UsageReportingEnabled", "0"),
		resource("FelixConfiguration node.n1", "WireguardEnabledV6", "true", "ChainInsertMode", "Insert", "BPFEnabled",
			"false"),
		resource("FelixConfiguration default", "WireguardEnabled", "true", "WireguardEnabledV6", "false",
			"PrometheusMetricsKeyFile", "/key"),
	}
	if _, err := config.Resolve(sources...); err != nil {
		t.Error(err)
	}
	got := config.MissingOf(sources...)
	check := func(what string, sentences []string, want ...string) {
		t.Helper()
		if len(sentences) != len(want) {
			t.Errorf("%s: %q", what, sentences)
			return
		}
		for i, text := range want {
			if !strings.HasPrefix(sentences[i], text+" has no effect") {
				t.Errorf("%s: %q does not begin with %s", what, sentences[i], text)
			}
		}
	}
	check("protection", got.Protection, `the environment: BPFEnabled "true"`,
		`FelixConfiguration node.n1: wireguardEnabledV6 "true"`,
		`FelixConfiguration default: prometheusMetricsKeyFile "/key"`)
	check("others", got.Others, `the environment: DataplaneDriver "/bin/other"`, `the file: ChainInsertMode "Append"`)
	if sound := config.MissingOf(source("s", "WireguardEnabled", "F", "LogSeverityScreen", "DEBUG", "BPFEnabled",
		"")); len(sound.Protection)+len(sound.Others) > 0 {
		t.Errorf("of settings that ask for nothing that is missing: %+v", sound)
	}
}

// TestDocumentation holds the page to the table.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/felix.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := config.WriteDoc(&table); err != nil {
		t.Fatal(err)
	}
	if _, written, _ := strings.Cut(string(page), "\n\n|"); "|"+written != table.String() {
		t.Errorf("docs/felix.md does not end with the table that `felix settings` prints (-want +got):\n%s",
			cmp.Diff(table.String(), "|"+written))
	}
}
