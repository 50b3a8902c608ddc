package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestRights compares what each account may do with a list that somebody has read.
func TestRights(t *testing.T) {
	var text strings.Builder
	for _, variant := range []struct{ name, set string }{{"with Typha", "typha.enabled=true"},
		{"without Typha", "typha.enabled=false"}} {
		for _, account := range []string{"calico-kube-controllers", "calico-node", "calico-typha"} {
			if lines := rights(t, render(t, variant.set), account); len(lines) > 0 {
				fmt.Fprintf(&text, "%s, %s:\n  %s\n\n", account, variant.name, strings.Join(lines, "\n  "))
			}
		}
	}
	golden := filepath.Join("testdata", "rights.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(text.String(), "\n")); diff != "" {
		t.Errorf("an account may do other things than %s says (-want +got). Is each of them needed, and "+
			"docs/security.md still true? "+
			"If so: go test ./test/chart -run TestRights -update\n%s", golden, diff)
	}
}

// rights lists what the chart's roles let an account do: a line for each resource, sorted.
func rights(t *testing.T, objects []*unstructured.Unstructured, account string) []string {
	t.Helper()
	verbs := map[string][]string{} // by what they are done to
	of := func(where string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
		if !slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
			return s.Kind == "ServiceAccount" &&
				s.Name == account
		}) {
			return
		}
		var rules []rbacv1.PolicyRule
		if ref.Kind == "ClusterRole" {
			rules = mustFind[rbacv1.ClusterRole](t, objects, ref.Kind, ref.Name).Rules
		} else {
			rules = mustFind[rbacv1.Role](t, objects, ref.Kind, ref.Name).Rules
		}
		for _, r := range rules {
			objects := slices.Clone(r.NonResourceURLs)
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					object := strings.Join(append([]string{strings.TrimPrefix(group+"/"+resource, "/")},
						r.ResourceNames...), " ")
					objects = append(objects, object+where)
				}
			}
			for _, object := range objects {
				verbs[object] = append(verbs[object], r.Verbs...)
			}
		}
	}
	for _, o := range objects {
		switch o.GetKind() {
		case "ClusterRoleBinding":
			b := mustFind[rbacv1.ClusterRoleBinding](t, objects, o.GetKind(), o.GetName())
			of("", b.RoleRef, b.Subjects)
		case "RoleBinding":
			b := mustFind[rbacv1.RoleBinding](t, objects, o.GetKind(), o.GetName())
			of(" in "+o.GetNamespace(), b.RoleRef, b.Subjects)
		}
	}
	var lines []string
	for _, object := range slices.Sorted(maps.Keys(verbs)) {
		slices.Sort(verbs[object])
		lines = append(lines, object+": "+strings.Join(slices.Compact(verbs[object]), " "))
	}
	return lines
}
