// Package structure holds the tests of the source tree itself: imports point one way,
// and every package says what it is for.
package structure

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/maneki-net/maneki/"

// mayImport lists, for each folder of the product, the folders of this module that it may
// import besides itself. The longest folder that contains a package decides. Test
// files are free.
var mayImport = map[string][]string{
	"api":            {},
	"datastore":      {"api"},
	"ipam":           {"api", "datastore"},
	"typha":          {"api", "datastore", "ipam"},
	"typha/certfile": {},
	"typha/inbound":  {},
	"typha/wire":     {"api/encap"},
	"typha/calc":     {"api", "typha/wire"},
	"typha/auth":     {"typha/certfile", "typha/inbound"},
	"typha/balance":  {},
	"typha/hub":      {"typha/metric", "typha/wire", "typha/calc"},
	"typha/transport": {"typha/auth", "typha/balance", "typha/hub", "typha/inbound", "typha/metric", "typha/wire",
		"typha/calc"},
	"typha/sync":       {"api", "datastore", "typha/calc", "typha/hub", "typha/wire"},
	"bgp":              {"typha/wire"},
	"felix":            {"api", "datastore", "ipam", "typha", "bgp", "cni-plugin/protocol"},
	"felix/dataplane":  {"api/encap"},
	"kube-controllers": {"api", "datastore", "ipam", "typha"},
	"cni-plugin":       {"api/backoff", "api/build"},
	"calicoctl":        {"api", "datastore", "ipam", "bgp"},
	"cmd":              {"api", "datastore", "typha", "felix", "bgp", "kube-controllers", "cni-plugin", "calicoctl"},
	"cmd/cni-plugin":   {"cni-plugin"},
	"test/cluster":     {"test"},

	"felix/dataplane/boundary": {"api/encap", "felix/config", "felix/dataplane", "typha/wire"},
	"felix/dataplane/linux": {"api/encap", "bgp", "felix/config", "felix/dataplane", "felix/policy", "felix/routing",
		"typha/metric",
		"typha/wire"},

	"typha/calc/bgp":        {"api", "typha/wire", "typha/calc/internal"},
	"typha/calc/compile":    {"api", "typha/calc/spec", "typha/wire"},
	"typha/calc/internal":   {},
	"typha/calc/labelindex": {"api/selector", "api/v3", "typha/calc/internal", "typha/calc/spec"},
	"typha/calc/nodeconfig": {"api", "typha/wire", "typha/calc/internal"},
	"typha/calc/owner":      {"typha/calc/internal"},
	"typha/calc/topology":   {"api", "typha/wire", "typha/calc/internal", "typha/calc/owner"},
	"typha/calc/sets":       {"typha/calc/internal", "typha/calc/labelindex", "typha/calc/spec", "typha/wire"},
	"typha/calc/spec":       {"api/rule", "api/selector"},
	"typha/calc/needs":      {"typha/calc/internal", "typha/wire"},
}

// importers lists, for each package whose use is restricted, the packages of this module that may import it. Test files
// are free.
var importers = map[string][]string{
	"felix/dataplane/filter/iptables": {"felix/dataplane/linux"},
	"felix/dataplane/linux":           {"felix/daemon"},
	"felix/dataplane/ipset":           {"felix/dataplane/filter/iptables", "test/bench/cmd/bench"},
}

// forbidden lists outside packages that must not be linked into a program, directly or not.
var forbidden = map[string][]string{
	"cmd/felix":      {"k8s.io/client-go/kubernetes", "sigs.k8s.io/controller-runtime"},
	"cmd/cni-plugin": {"k8s.io/", "google.golang.org/grpc", "net/http"},
	"test/cluster":   {"k8s.io/kubernetes", "go.etcd.io/etcd/server"},
	"typha/calc":     {"k8s.io/client-go", "google.golang.org/grpc"},
	"typha/hub":      {"k8s.io/client-go", "google.golang.org/grpc"},
	"typha/sync":     {"google.golang.org/grpc/"},
}

// notDirectly lists outside packages that the packages of a folder must not import themselves.
var notDirectly = map[string][]string{
	"typha/hub":     {"crypto/tls", "net", "net/http"},
	"typha/balance": {"crypto/tls", "net", "net/http", "google.golang.org/grpc"},
}

// testOnly are packages that tests alone import, and each other.
var testOnly = []string{"felix/dataplane/drivertest", "felix/dataplane/fake", "felix/dataplane/kerneltest",
	"typha/hub/hubtest", "typha/metric/metrictest"}

func isTestOnly(pkg string) bool { return slices.Contains(testOnly, pkg) }

type listed struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,GoFiles,Imports,Deps"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module)
		all = append(all, p)
	}
}

func inside(pkg, folder string) bool {
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

// rulesFor gives the deepest folder with a rule that contains the package.
func rulesFor(pkg string) (folder string, allowed []string, found bool) {
	for f, a := range mayImport {
		if inside(pkg, f) && len(f) >= len(folder) {
			folder, allowed, found = f, a, true
		}
	}
	return folder, allowed, found
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t, "./...") {
		folder, allowed, found := rulesFor(p.ImportPath)
		if !found {
			continue
		}
		for _, imported := range p.Imports {
			own, ok := strings.CutPrefix(imported, module)
			if !ok || inside(own, folder) {
				continue
			}
			if !slices.ContainsFunc(allowed, func(a string) bool { return inside(own, a) }) {
				t.Errorf("%s imports %s; packages in %s may import only %v", p.ImportPath, own, folder, allowed)
			}
		}
	}
}

func TestProductImportsNoTestPackage(t *testing.T) {
	for _, p := range packages(t, "./...") {
		for _, imported := range p.Imports {
			if own := strings.TrimPrefix(imported, module); isTestOnly(own) && !isTestOnly(p.ImportPath) {
				t.Errorf("%s imports %s, which only tests may", p.ImportPath, own)
			}
		}
	}
}

// TestBackendsAreHidden: what renders rules does not know how the kernel is told.
func TestBackendsAreHidden(t *testing.T) {
	for _, p := range packages(t, "./...") {
		for _, imported := range p.Imports {
			own := strings.TrimPrefix(imported, module)
			if allowed, restricted := importers[own]; restricted && !slices.Contains(allowed, p.ImportPath) {
				t.Errorf("%s imports %s, which only %v may import", p.ImportPath, own, allowed)
			}
		}
	}
}

// pure lists the packages that compute and do nothing else, and impure what they therefore do not import.
var (
	pure = []string{"typha/calc/bgp", "typha/calc/compile", "typha/calc/labelindex", "typha/calc/needs",
		"typha/calc/nodeconfig", "typha/calc/owner", "typha/calc/sets", "typha/calc/spec", "typha/calc/topology"}
	impure = []string{"context", "log", "log/slog", "net", "net/http", "os", "sync"}
)

func TestPurePackagesOnlyCompute(t *testing.T) {
	for _, folder := range pure {
		for _, p := range packages(t, "./"+folder) {
			for _, imported := range p.Imports {
				if slices.Contains(impure, imported) {
					t.Errorf("%s imports %s, although it is pure", p.ImportPath, imported)
				}
			}
		}
	}
}

func TestProgramsStaySmall(t *testing.T) {
	for root, prefixes := range forbidden {
		for _, p := range packages(t, "./"+root) {
			for _, dep := range p.Deps {
				for _, prefix := range prefixes {
					if strings.HasPrefix(dep, prefix) && !strings.HasPrefix(dep, module) {
						t.Errorf("%s links %s, which nothing in it may (%s)", root, dep, prefix)
					}
				}
			}
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range packages(t, "./...") {
		if len(p.Doc) == 0 && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: say what it owns, what it never does and who calls it", p.ImportPath)
		}
	}
}

func TestSomePackagesHaveNoNetwork(t *testing.T) {
	for _, p := range packages(t, "./...") {
		for folder, prohibited := range notDirectly {
			if !inside(p.ImportPath, folder) {
				continue
			}
			for _, imported := range p.Imports {
				if slices.Contains(prohibited, imported) {
					t.Errorf("%s imports %s, which nothing in %s may", p.ImportPath, imported, folder)
				}
			}
		}
	}
}
