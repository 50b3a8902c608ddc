package calc_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maneki-net/maneki/test/long"
)

// mutant is one mistake in the engine, as an edit of its source.
type mutant struct{ name, file, from, to string }

// mutants are mistakes of the kind that people make, each in another place of the engine. The quotes stand once in
// their files.
var mutants = []mutant{
	{"a set's change counts members that were there", "sets/set.go", `before := now - change`,
		`before := min(0, now-change)`},
	{"an unusable Deny does nothing", "compile/calicorule.go",
		`closed := !known || action == wire.Deny || action == wire.Pass`, `closed := !known`},
	{"an address stays with a terminating pod", "owner/pod.go", `c.rank += half`, `c.rank += 0`},
	{"except is left out", "compile/kubernetes.go", `far.Nets, far.NotNets = []netip.Prefix{p.block}, p.except`,
		`far.Nets = []netip.Prefix{p.block}`},
	{"no order is the first", "tierorder.go", "case a == nil:\n\t\treturn 1", "case a == nil:\n\t\treturn -1"},
	{"selectors of a namespace are not looked up", "labelindex/facts.go", `{"", g.origin.namespace.name}`, `{"", ""}`},
	{"a namespace's new labels reach nobody", "labelindex/origin.go", "\t\tx.enqueue(g)\n", "\t\t_ = g\n"},
	{"a set stays needed", "needs/group.go", `case n == 1:`, `case n <= 1:`},
	{"types default to ingress always", "compile/calico.go",
		`return len(o.Ingress) > 0 || len(o.Egress) == 0, len(o.Egress) > 0`,
		`return true, len(o.Egress) > 0`},
	{"nodes are no peers", "compile/cluster.go", `Scope: spec.Nodes, Expression: nodes`,
		`Scope: spec.Pods, Expression: nodes`},
	{"an endpoint of two slices goes with one of them", "sets/service.go", "\t\t\tif m[x] == 0 {", "\t\t\tif n < 0 {"},
	{"a policy that changed its tier stays", "policy.go", `if before != nil && before.Name != p.Name {`, `if false {`},
	{"applyOnForward is for all", "endpoint.go", `return normal(p) && p.onForward`, `return normal(p)`},
	{"some labels of an endpoint are not its own", "labelindex/group.go", `g.labels.get(number); ok {`,
		`g.labels.get(number); ok && len(v) > 2 {`},
	{"what leaves a group stays in sets", "sets/follow.go", "\t\ts.countNetwork(from, net, -1)\n", ""},
	{"the last item of a group is lost", "labelindex/group.go", `g.items[it.at], last.at = last, it.at`,
		`g.items[it.at] = last`},
	{"a workload has the profiles of a pod", "labelindex/origin.go", `if it.kind != Pod {`, `if it.kind > Host {`},
	{"a Profile's rules reach nobody", "profile.go", "\t\te.decideProfileRules(g)\n", "\t\t_ = g\n"},
	{"the youngest policy comes first", "tenant.go", `cmp.Compare(a.created, b.created)`,
		`cmp.Compare(b.created, a.created)`},
	{"members of a group that grows are not counted", "labelindex/group.go", "\tg.networks += int32(n)\n", ""},
	{"what is staged does not replace", "explain.go", "staged = true\n\t\t\tcontinue", "staged = true"},
}

// TestMutantsAreCaught shows that the random tests find mistakes: for each mutant the package is compiled with it, and
// its random tests have to fail. Two of them in a normal run, all in a long one.
func TestMutantsAreCaught(t *testing.T) {
	for n, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			mutated := m.apply(t)
			if n >= long.Or(len(mutants), 2) {
				return
			}
			out, err := m.test(t, mutated)
			switch {
			case err == nil:
				t.Errorf("no random test fails:\n%s", out)
			case !strings.Contains(out, "--- FAIL: Test"):
				t.Errorf("the random tests did not run: %v\n%s", err, out)
			default:
				t.Log(firstFailure(out))
			}
		})
	}
}

// apply gives the source with the mistake in it.
func (m *mutant) apply(t *testing.T) string {
	source, err := os.ReadFile(m.file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.from); n != 1 {
		t.Fatalf("%s has %d times what is to be replaced, and not once: %s", m.file, n, m.from)
	}
	return strings.Replace(string(source), m.from, m.to, 1)
}

// test runs the random tests of the package with another source of one file.
func (m *mutant) test(t *testing.T, source string) (string, error) {
	dir := t.TempDir()
	mutated, overlay := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	original, err := filepath.Abs(m.file)
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{mutated: source, overlay: string(replace)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-failfast",
		"-run", "^Test(VerdictsEqualTheOracles|OrderDoesNotMatter|DeletionLeavesNothing|MemoryFollowsWhatLives|"+
			"BudgetsDoNotDependOnTheOrder|StepsEndWhereAFlushDoes|OlderPolicies.*|Explain.*)$", ".")
	cmd.Env = append(os.Environ(), "MANEKI_LONG=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func firstFailure(out string) string {
	_, rest, _ := strings.Cut(out, "--- FAIL: ")
	lines := strings.SplitN(rest, "\n", 4)
	return strings.Join(lines[:min(3, len(lines))], "\n")
}
