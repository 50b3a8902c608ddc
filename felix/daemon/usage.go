package daemon

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// strict has every command say what it does not understand: words, flags, and commands that help is asked for.
func strict(root *cobra.Command, stderr io.Writer) {
	root.CompletionOptions.DisableDefaultCmd = true
	root.InitDefaultHelpCmd()
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		fmt.Fprintf(stderr, "%s: %v, see --help\n", c.CommandPath(), err)
		return err
	})
	unknown := func(c *cobra.Command, word string) error {
		err := fmt.Errorf("unknown command %q for %q", word, c.CommandPath())
		c.SuggestionsMinimumDistance = 2
		hint := ""
		if near := c.SuggestionsFor(word); len(near) > 0 {
			hint = "; did you mean " + strings.Join(near, " or ") + "?"
		}
		fmt.Fprintf(stderr, "%v%s\n", err, hint)
		return err
	}
	noWords := func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknown(c, args[0])
	}
	root.Args = noWords
	for _, c := range root.Commands() {
		if c.Name() != "help" {
			c.Args = noWords
			continue
		}
		show := c.Run
		c.RunE = func(help *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = unknown(found, rest[0])
			}
			if err == nil {
				show(help, args)
			}
			return err
		}
	}
}
