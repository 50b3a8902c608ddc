package calicoctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// elsewhere are the commands of Calico's calicoctl that this program does not have, each with what to do instead.
var elsewhere = [][2]string{
	{"node run", "the agent runs as the DaemonSet calico-node of the chart; on a host without Kubernetes start felix run"},
	{"node diags", "calicoctl node status shows the state of every node, felix status that of one; " +
		"kubectl logs shows what the pods of calico-node write"},
	{"node checksystem", "what the kernel refuses is in the log of felix, in felix status, and in the Node's condition " +
		"maneki.net/NetworkProgrammed"},
	{"cluster diags", "calicoctl node status shows the state of every node; kubectl logs shows what the pods of " +
		"calico-node, calico-typha and calico-kube-controllers write"},
	{"datastore migrate export", "write the resources of etcd with calicoctl get TYPE -A -o yaml --export"},
	{"datastore migrate import", "create the resources that get --export wrote with " +
		"calicoctl apply -f FILE --datastore-type=kubernetes"},
	{"datastore migrate lock", lockWith("false")},
	{"datastore migrate unlock", lockWith("true")},
	{"datastore migrate-policy-names", "calicoctl convert -f FILE drops default. from the names of policies of " +
		"crd.projectcalico.org/v1"},
	{"ipam check", "kube-controllers compares the addresses with the pods and releases those that leaked; " +
		"calicoctl get ipamblocks -o yaml shows them all"},
	{"ipam configure", "apply an IPAMConfiguration named default, or change it with " +
		`calicoctl patch ipamconfiguration default -p '{"spec": {"strictAffinity": true}}'`},
	{"ipam release", "kube-controllers releases the addresses of pods and nodes that are gone"},
	{"ipam show", "calicoctl get ippools -o wide shows the pools, calicoctl get blockaffinities the blocks of each " +
		"node, and calicoctl get ipamblocks -o yaml every address"},
	{"ipam split", "create IPPools for the parts, disable the old pool, move the pods and delete it"},
}

func lockWith(ready string) string {
	return "calicoctl patch clusterinformation default -p '{\"spec\": {\"datastoreReady\": " + ready + "}}' does the same"
}

// elsewhereAnnotation marks such a command, and says what to do instead.
const elsewhereAnnotation = "elsewhere"

func elsewhereOf(c *cobra.Command) string { return c.Annotations[elsewhereAnnotation] }

// addElsewhere adds the commands that are not here, so that they are refused by their names, whatever their flags are.
func addElsewhere(root *cobra.Command) {
	for _, e := range elsewhere {
		words := strings.Fields(e[0])
		parent := root
		for _, word := range words[:len(words)-1] {
			parent = groupNamed(parent, word)
		}
		parent.AddCommand(&cobra.Command{
			Use: words[len(words)-1], Hidden: true, DisableFlagParsing: true,
			Short:       "Not in this program: " + e[1],
			Annotations: map[string]string{elsewhereAnnotation: e[1]},
			RunE: func(c *cobra.Command, _ []string) error {
				return fmt.Errorf("%s is not in this program: %s", c.CommandPath(), e[1])
			},
		})
	}
}

// groupNamed returns a subcommand, which is made when it is not there.
func groupNamed(parent *cobra.Command, name string) *cobra.Command {
	for _, c := range parent.Commands() {
		if c.Name() == name {
			return c
		}
	}
	c := &cobra.Command{Use: name, Hidden: true, Short: "Commands of Calico that are not in this program"}
	parent.AddCommand(c)
	return c
}

// strictGroups has every command that only holds others refuse those that it does not have. Cobra shows their help
// instead, and succeeds.
func strictGroups(c *cobra.Command) {
	for _, sub := range c.Commands() {
		strictGroups(sub)
	}
	if !c.HasParent() || !c.HasSubCommands() {
		return
	}
	c.Args = cobra.ArbitraryArgs
	c.FParseErrWhitelist.UnknownFlags = true // they are those of a command that is not here
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		var names []string
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() || c.Hidden {
				names = append(names, sub.Name())
			}
		}
		return fmt.Errorf("say which command of %s: %s", c.CommandPath(), strings.Join(names, ", "))
	}
}

// strictHelp has `help` refuse commands that are not there. Cobra shows the help of what comes before, and succeeds.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help := groupNamed(root, "help")
	show := help.Run
	help.RunE = func(c *cobra.Command, args []string) error {
		found, rest, err := root.Find(args)
		switch {
		case err != nil:
			return err
		case elsewhereOf(found) != "":
			return found.RunE(found, nil)
		case len(rest) > 0 && found.HasSubCommands():
			return unknownCommand(found, rest[0])
		}
		show(c, args)
		return nil
	}
}

// unknownCommand is in the form of cobra's own error for the first word of a command line.
func unknownCommand(c *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %q for %q", name, c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	suggestions := c.SuggestionsFor(name)
	if len(suggestions) > 0 {
		slices.Sort(suggestions)
		text += "\n\nDid you mean this?\n\t" + strings.Join(suggestions, "\n\t")
	}
	return errors.New(text)
}
