// Package compile reads policy resources: NetworkPolicy and ClusterNetworkPolicy of Kubernetes, NetworkPolicy,
// GlobalNetworkPolicy, their staged kinds, and the rules of a Profile, of projectcalico.org/v3.
//
// A compiled Policy says, independent of the rest of the cluster, which endpoints it applies to, where it comes in the
// order of policies, its rules in the form that nodes receive, which rule of the resource each of them comes from, what
// the sets contain that the rules name, what the policy counts as in a budget, and why it or a part of it cannot be
// used.
//
// A resource that cannot be used hurts only itself. An unusable rule that allows or logs matches nothing; one that
// denies or passes denies everything that it may have meant. A policy whose subject cannot be read isolates every
// endpoint that it may have meant.
//
// All functions are pure: the same resource gives the same Policy. The package knows no endpoints, tiers' objects or
// nodes. The engine in typha/calc calls it for each resource that changed, and admission calls Budget.Exceeded.
package compile
