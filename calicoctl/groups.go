package calicoctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/api/effects"
)

// elsewhereAnnotation marks a command of Calico's calicoctl that is not here, and says what to do instead.
const elsewhereAnnotation = "elsewhere"

func elsewhereOf(c *cobra.Command) string { return c.Annotations[elsewhereAnnotation] }

// addElsewhere adds the commands that are not here, so that they are refused by their names, whatever their flags are.
func addElsewhere(root *cobra.Command) {
	for _, row := range effects.Rows(effects.Command) {
		if row.State == effects.Works || row.Name != "" {
			continue
		}
		words := strings.Fields(row.On)
		parent := root
		for _, word := range words[:len(words)-1] {
			parent = groupNamed(parent, word)
		}
		missing := "is not in this program"
		if row.State == effects.Later {
			missing = "is not in this program yet"
		}
		parent.AddCommand(&cobra.Command{
			Use: words[len(words)-1], Hidden: true, DisableFlagParsing: true,
			Short:       "Not in this program: " + row.Why,
			Annotations: map[string]string{elsewhereAnnotation: row.Why},
			RunE: func(c *cobra.Command, _ []string) error {
				return fmt.Errorf("%s %s: %s", c.CommandPath(), missing, row.Why)
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
