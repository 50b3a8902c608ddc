package effects

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// unusedName returns the finding of an object that nothing reads because of its name.
func unusedName(object runtime.Object) (Finding, bool) {
	const settings = "only the objects default and node.NAME are read"
	switch o := object.(type) {
	case *v3.FelixConfiguration:
		if o.Spec.NodeSelector != nil {
			return Finding{}, false
		}
		return unlessRead(felixConfiguration, o.Name, true, settings+", and those with spec.nodeSelector")
	case *v3.BGPConfiguration:
		return unlessRead("BGPConfiguration", o.Name, true, settings)
	case *v3.KubeControllersConfiguration:
		return unlessRead("KubeControllersConfiguration", o.Name, false, "")
	case *v3.IPAMConfiguration:
		return unlessRead("IPAMConfiguration", o.Name, false, "")
	case *v3.ClusterInformation:
		return unlessRead("ClusterInformation", o.Name, false, "")
	}
	return Finding{}, false
}

// unlessRead returns the finding of a name that is neither default nor, where nodes have objects of their own,
// node.NAME.
func unlessRead(kind, name string, ofNodes bool, why string) (Finding, bool) {
	node, ofNode := strings.CutPrefix(name, "node.")
	if ofNodes && ofNode && node != "" {
		return Finding{}, false
	}
	if why == "" {
		why = "only the object default is read"
	}
	row := Row{Class: Field, On: kind, Name: "metadata.name", State: None, Unless: []string{"default"}, Why: why}
	return Finding{row, name}, name != "default" && name != ""
}
