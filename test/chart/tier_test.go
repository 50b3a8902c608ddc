package chart

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v3 "github.com/maneki-net/maneki/api/v3"
)

// grant gives a user of the namespace shop the right to write policies, and these rules in the whole cluster.
func (in *installed) grant(t *testing.T, user string, rules ...rbacv1.PolicyRule) client.Client {
	t.Helper()
	rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{"projectcalico.org"}, Verbs: []string{"*"},
		Resources: []string{"networkpolicies", "globalnetworkpolicies", "stagednetworkpolicies",
			"stagedglobalnetworkpolicies"}})
	in.create(t,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user},
			RoleRef:  rbacv1.RoleRef{Kind: "ClusterRole", Name: user},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: user}}})
	return in.as(t, user)
}

// as gives the client of a user.
func (in *installed) as(t *testing.T, user string) client.Client {
	t.Helper()
	config := *in.server.Config
	config.Impersonate.UserName = user
	return in.client(t, &config)
}

// rule gives a rule of projectcalico.org.
func rule(resource, name string, verbs ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{APIGroups: []string{"projectcalico.org"}, Resources: []string{resource}, Verbs: verbs}
	if name != "" {
		r.ResourceNames = []string{name}
	}
	return r
}

// TestTierRights: who may write policies of a namespace writes into the tiers that he was given alone.
func TestTierRights(t *testing.T) {
	in := install(t, nil)
	in.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	policy := func(tier, name string) *v3.NetworkPolicy {
		return &v3.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: v3.NetworkPolicySpec{Tier: tier, Selector: "all()"}}
	}
	global := func(tier, name string) *v3.GlobalNetworkPolicy {
		return &v3.GlobalNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: v3.GlobalNetworkPolicySpec{Tier: tier, Selector: "all()"}}
	}
	move := func(tier string) func(*v3.NetworkPolicy) { return func(p *v3.NetworkPolicy) { p.Spec.Tier = tier } }
	reorder := func(p *v3.NetworkPolicy) { p.Spec.Selector = "a == 'b'" }
	security, shop, plain := policy("security", "security.base"), policy("shop", "shop.web"), policy("", "web")
	in.create(t, security, shop, plain, global("security", "security.all"))

	nobody := in.grant(t, "nobody")
	in.enforced(t, func(ctx context.Context) error { return nobody.Create(ctx, policy("", "x"), client.DryRunAll) })
	judge(t, nobody, []attempt{
		created("without rights: into the default tier", policy("", "x"),
			`cannot create networkpolicies in tier "default"`),
		created("without rights: into a tier", policy("security", "security.x"), `needs get of tiers "security"`),
		deleted("without rights: delete", plain, `cannot delete networkpolicies in tier "default"`),
	})
	judge(t, in.grant(t, "developer", rule("tiers", "shop", "get"),
		rule("tier.networkpolicies", "shop.*", "create", "update", "delete"),
		rule("tier.stagednetworkpolicies", "shop.*", "create")), []attempt{
		created("one tier: create in it", policy("shop", "shop.x"), ""),
		updated("one tier: change in it", shop, reorder, ""),
		deleted("one tier: delete in it", shop, ""),
		created("one tier: a staged policy", &v3.StagedNetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop",
			Name: "shop.x"},
			Spec: v3.StagedNetworkPolicySpec{Tier: "shop", Selector: "all()"}}, ""),
		created("one tier: a policy of the cluster", global("shop", "shop.x"),
			`cannot create globalnetworkpolicies in tier "shop"`),
		created("one tier: create in another", policy("security", "security.x"), `in tier "security"`),
		created("one tier: create in the default tier", policy("", "x"), `in tier "default"`),
		updated("one tier: change in another", security, reorder, `cannot update networkpolicies in tier "security"`),
		updated("one tier: move a policy into another", shop, move("security"), `in tier "security"`),
		updated("one tier: move a policy out of another", security, move("shop"), `in tier "security"`),
		patched("one tier: move a policy out of another, by a patch", security, `{"spec": {"tier": "shop"}}`,
			`in tier "security"`),
		updated("one tier: move a policy out of the default tier", plain, move("shop"), `in tier "default"`),
		deleted("one tier: delete in another", security, `in tier "security"`),
		{"one tier: delete all of another", func(ctx context.Context, as client.Client) error {
			return as.DeleteAllOf(ctx, &v3.NetworkPolicy{}, client.InNamespace("shop"), client.DryRunAll)
		}, `in tier`},
	})
	judge(t, in.grant(t, "mover", rule("tiers", "", "get"), rule("tier.networkpolicies", "shop.*", "update"),
		rule("tier.networkpolicies", "security.*", "update")), []attempt{
		updated("two tiers: move a policy", shop, move("security"), ""),
		deleted("two tiers, to update: delete", shop, `cannot delete`),
	})
	judge(t, in.grant(t, "one", rule("tiers", "shop", "get"), rule("tier.networkpolicies", "shop.web", "update"),
		rule("tier.networkpolicies", "shop.api", "create")), []attempt{
		updated("one policy: change it", shop, reorder, ""),
		created("one policy, named without its tier: create it", policy("shop", "api"), ""),
		created("one policy: create another", policy("shop", "shop.x"), `"shop.x"`),
	})
	judge(t, in.grant(t, "blind", rule("tier.networkpolicies", "shop.*", "*")), []attempt{
		updated("without get of the tier", shop, reorder, `needs get of tiers "shop"`),
	})
	judge(t, in.grant(t, "all", rule("tiers", "", "get"), rule("tier.networkpolicies", "", "*"),
		rule("tier.globalnetworkpolicies", "", "*")), []attempt{
		updated("all tiers: change", security, reorder, ""),
		created("all tiers: create", global("security", "security.x"), ""),
	})
	judge(t, in.grant(t, "administrator", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"},
		Verbs: []string{"*"}}), []attempt{
		updated("an administrator: move a policy", shop, move("security"), ""),
		deleted("an administrator: delete", security, ""),
	})
	judge(t, in.as(t, "system:serviceaccount:kube-system:namespace-controller"), []attempt{
		deleted("the controller that deletes what is in a namespace", security, ""),
	})
}
