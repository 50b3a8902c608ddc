package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func askForStatus(name string, period int) string {
	return fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: CalicoNodeStatus\nmetadata: {name: %s}\n"+
		"spec: {node: node1, classes: [Agent, BGP, Routes], updatePeriodSeconds: %d}\n", name, period)
}

// TestCalicoNodeStatus asks a node for its status: it shows a session that comes and goes, and routes. The session is
// of a BGPPeer whose peerIP is a node's, and which has no AS number.
func TestCalicoNodeStatus(t *testing.T) {
	install(t)
	const period = 5
	address := strings.Fields(must(t,
		`kubectl get node node2 -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}'`))[0]
	peer := "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: node2}\nspec: {node: node1, peerIP: " +
		address + "}\n"
	of := func(name, path string) string {
		return "kubectl get caliconodestatus " + name + " -o jsonpath='" + path + "'"
	}
	session := `{.status.agent.birdV4.state}:{range .status.bgp.peersV4[?(@.peerIP=="` + address +
		`")]}{.type} {.state}{end}.`
	t.Cleanup(func() { cleanUp(t, "kubectl delete bgppeers.projectcalico.org node2 --ignore-not-found") })
	t.Cleanup(func() { cleanUp(t, "kubectl delete caliconodestatus asked other --ignore-not-found") })

	input(t, "calicoctl validate -f -", peer)
	input(t, "kubectl apply -f -", peer)
	input(t, "calicoctl apply -f -", askForStatus("asked", period))
	expectOutput(t, 90*time.Second, of("asked", session), "Ready:NodePeer Established.")
	learned := `{range .status.routes.routesV4[?(@.learnedFrom.peerIP=="` + address +
		`")]}{.learnedFrom.sourceType} {.destination};{end}`
	expectOutput(t, 30*time.Second, of("asked", learned), "BGPPeer 10.")
	expectOutput(t, 30*time.Second, of("asked", "{.status.routes.routesV4[*].learnedFrom.sourceType}"), "Direct")
	if output := must(t, "calicoctl get caliconodestatus asked -o yaml"); !strings.Contains(output,
		"state: Established") {
		t.Errorf("calicoctl does not show the session:\n%s", output)
	}

	// Typha and kube-controllers pass on what changed once a second. Where the mesh is on, it has a session instead.
	must(t, "kubectl delete bgppeers.projectcalico.org node2")
	eventually(t, (period+3)*time.Second, func(ctx context.Context) error {
		output, err := sh(ctx, of("asked", session))
		if err == nil && strings.Contains(output, "NodePeer") {
			err = fmt.Errorf("the session of the BGPPeer that was deleted is still there: %s", output)
		}
		return err
	})

	must(t, `kubectl patch caliconodestatus asked --type merge -p '{"spec": {"updatePeriodSeconds": 0}}'`)
	input(t, "kubectl apply -f -", askForStatus("other", period))
	expectOutput(t, 30*time.Second, of("other", "{.status.lastUpdated}"), "T")
	before := must(t, of("asked", "{.status.lastUpdated}"))
	input(t, "kubectl apply -f -", peer)
	expectOutput(t, 90*time.Second, of("other", session), "Ready:NodePeer Established.")
	if after := must(t, of("asked", "{.status.lastUpdated}")); after != before || before == "" {
		t.Errorf("with a period of 0 the status was updated at %q and then at %q", before, after)
	}
}
