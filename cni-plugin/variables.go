package cniplugin

import "fmt"

// ignored are the variables of Calico's installer that have no effect here: what of them asks for nothing that is
// missing, and the reason. They are rows of api/effects, which this program is too small to contain; test/effects
// compares both.
var ignored = []struct{ name, unless, why string }{
	{"CNI_CONF_NAME", configName, "the file is " + configName},
	{"CNI_MTU", "", "the configuration itself says mtu; the chart has cni.mtu"},
	{"CNI_NETWORK_CONFIG_FILE", "", "CNI_NETWORK_CONFIG holds the configuration"},
	{"SKIP_CNI_BINARIES", "", "the binaries are always written"},
	{"UPDATE_CNI_BINARIES", "true", "the binaries are always written"},
}

// IgnoredVariables says which variables for the installer have no effect, a sentence each.
func IgnoredVariables(getenv func(string) string) []string {
	var said []string
	for _, v := range ignored {
		if value := getenv(v.name); value != "" && value != v.unless {
			said = append(said, fmt.Sprintf("%s has no effect: %s", v.name, v.why))
		}
	}
	return said
}
