package calicoctl

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/bgp"
	"github.com/maneki-net/maneki/datastore/connect"
)

// NodeStatus is the state of one node's agent, as `felix status` prints it.
type NodeStatus struct {
	Node string `json:"node"`
	// InSync: everything that the node needs has been received and is in its kernel.
	InSync bool `json:"inSync"`
	// Error says why the node is not in sync or did not answer.
	Error string     `json:"error,omitempty"`
	BGP   bgp.Status `json:"bgp"`
}

func (t *tool) nodeCommand() *cobra.Command {
	node := &cobra.Command{Use: "node", Short: "Show the state of nodes"}
	node.AddCommand(t.nodeStatusCommand())
	return node
}

func (t *tool) nodeStatusCommand() *cobra.Command {
	var name, format string
	command := &cobra.Command{
		Use: "status", Short: "Show whether nodes are in sync, and their BGP sessions", Args: cobra.NoArgs,
		Long: "Show whether nodes are in sync, and their BGP sessions.\n\nThe agent of each node is asked through " +
			"the API server. " +
			"The command fails when a node does not answer or is not in sync.",
		RunE: func(command *cobra.Command, _ []string) error {
			if format != "" && format != "json" && format != "yaml" {
				return fmt.Errorf("-o %s: must be json or yaml", format)
			}
			connection, err := t.connection.complete(t.Getenv, t.configFile)
			if err != nil {
				return err
			}
			if connection.Type == connect.Etcd {
				return errors.New("the agents are asked through the API server of Kubernetes: on a host without it, " +
					"run felix status")
			}
			agents, err := t.Agents(connection)
			if err != nil {
				return err
			}
			nodes, err := agents.Status(command.Context(), name)
			if err != nil {
				return err
			}
			if len(nodes) == 0 {
				return noAgent(name)
			}
			slices.SortFunc(nodes, func(a, b NodeStatus) int { return cmp.Compare(a.Node, b.Node) })
			if err := t.printNodes(nodes, format); err != nil {
				return err
			}
			if slices.ContainsFunc(nodes, func(n NodeStatus) bool { return !n.InSync }) {
				return errReported
			}
			return nil
		},
	}
	command.Flags().StringVar(&name, "node", "", "show this node alone")
	command.Flags().StringVarP(&format, "output", "o", "", "json or yaml (default tables)")
	return command
}

func noAgent(node string) error {
	if node == "" {
		return fmt.Errorf("no node runs calico-node (pods labelled %s)", agentLabel)
	}
	return fmt.Errorf("node %s does not run calico-node (pods labelled %s)", node, agentLabel)
}

func (t *tool) printNodes(nodes []NodeStatus, format string) error {
	if format != "" {
		return encode(t.Out, format, nodes)
	}
	var states, sessions [][]string
	for _, n := range nodes {
		asn, state := "", "in sync"
		if n.BGP.ASNumber != 0 {
			asn = strconv.FormatUint(uint64(n.BGP.ASNumber), 10)
		}
		if !n.InSync {
			state = "not in sync"
		}
		off := n.BGP.Off
		if off != "" {
			off = "no BGP: " + off
		}
		states = append(states, []string{n.Node, state, asn, strconv.Itoa(len(n.BGP.Peers)), strconv.Itoa(n.BGP.Routes),
			cmp.Or(n.Error, n.BGP.Error, off)})
		for _, peer := range n.BGP.Peers {
			sessions = append(sessions, session(n.Node, peer))
		}
	}
	if err := table(t.Out, []string{"NODE", "STATE", "ASN", "PEERS", "ROUTES", "INFO"}, states); err != nil ||
		len(sessions) == 0 {
		return err
	}
	fmt.Fprintln(t.Out)
	return table(t.Out, []string{"NODE", "PEER ADDRESS", "PEER TYPE", "ASN", "STATE", "SINCE", "INFO", "ROUTES"},
		sessions)
}

// session is a row of the second table; up and down are as in Calico.
func session(node string, peer bgp.PeerStatus) []string {
	kind, state := "BGPPeer "+peer.Name, "down"
	if peer.Type == "NodeMesh" {
		kind = "node-to-node mesh"
	}
	if peer.State == bgp.Established {
		state = "up"
	}
	return []string{node, peer.Addr.String(), kind, strconv.FormatUint(uint64(peer.ASNumber), 10), state,
		peer.Since.Local().Format(time.DateTime), cmp.Or(peer.Error, string(peer.State)),
		strconv.FormatUint(peer.Imported, 10)}
}

// decodeStatus reads what an agent printed.
func decodeStatus(node string, out []byte) NodeStatus {
	status := NodeStatus{Node: node}
	if err := json.Unmarshal(out, &status); err != nil {
		return NodeStatus{Node: node, Error: fmt.Sprintf("the agent's answer cannot be read: %v", err)}
	}
	status.Node = node
	return status
}
