package iptables

import (
	"context"
	"fmt"
	"strings"

	"github.com/maneki-net/maneki/felix/dataplane"
)

// Variant is one of the two families of iptables' commands.
type Variant string

// The variants.
const (
	NFT    Variant = "nft"
	Legacy Variant = "legacy"
)

// command returns the name of the program that does verb: "save" or "restore".
func command(f dataplane.Family, v Variant, verb string) string {
	name := "iptables"
	if f == dataplane.IPv6 {
		name = "ip6tables"
	}
	return name + "-" + string(v) + "-" + verb
}

// Detect finds the variant that the rest of the node uses: the one that has the kubelet's chains, then the
// one with more rules, then NFT. It is what iptablesBackend Auto means.
func Detect(ctx context.Context, r Runner) (Variant, error) {
	rules := map[Variant]int{}
	var failed error
	for _, v := range []Variant{NFT, Legacy} {
		for _, f := range []dataplane.Family{dataplane.IPv4, dataplane.IPv6} {
			// Without a table's name the command reads those that exist, and makes none.
			out, _, err := Run(ctx, r, Command{Name: command(f, v, "save")})
			if err != nil {
				failed = err // a variant, or a family, that the machine lacks
				continue
			}
			text := string(out)
			if strings.Contains(text, ":KUBE-IPTABLES-HINT ") || strings.Contains(text, ":KUBE-KUBELET-CANARY ") {
				return v, nil
			}
			rules[v] += strings.Count(text, "\n-A ") + 1 // one more: a variant that works beats one that does not
		}
	}
	switch {
	case len(rules) == 0:
		return "", fmt.Errorf("find the variant of iptables: %w", failed)
	case rules[Legacy] > rules[NFT]:
		return Legacy, nil
	}
	return NFT, nil
}
