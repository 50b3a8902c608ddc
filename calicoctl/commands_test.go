package calicoctl

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/maneki-net/maneki/api/effects"
)

// tree returns every command of the program, those that cobra adds included.
func tree(t *testing.T) []*cobra.Command {
	t.Helper()
	root := newCommand(Environment{Name: "calicoctl", Getenv: func(string) string { return "" }})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var all []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		all = append(all, c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return all
}

// Every command that holds others refuses one that it does not have, whatever flags follow, and proposes what is near.
func TestGroupsRefuseUnknownCommands(t *testing.T) {
	groups := 0
	for _, c := range tree(t) {
		if !c.HasSubCommands() {
			continue
		}
		groups++
		path := strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), "calicoctl"))
		b := newBench(t)
		want := `unknown command "foo" for "` + c.CommandPath() + `"`
		b.refused(path+" foo", "", want)
		b.refused("-l error "+path+" foo bar", "", want)
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() {
				continue
			}
			out, errs, _ := b.run(path+" "+sub.Name()+"x", "")
			if !strings.Contains(errs, "Did you mean this?\n\t") || !strings.Contains(errs, sub.Name()) || out != "" {
				t.Errorf("%s %sx: %s%s", path, sub.Name(), out, errs)
			}
		}
		if path != "" {
			b.refused(path+" foo --ip=1.2.3.4", "", want)
			b.refused(path, "", "say which command of "+c.CommandPath())
			if out, _, code := b.run(path+" --help", ""); code != 0 || !strings.Contains(out, c.CommandPath()) {
				t.Errorf("%s --help: exit code %d: %s", path, code, out)
			}
		}
	}
	if groups < 5 {
		t.Errorf("%d commands hold others", groups)
	}
	b := newBench(t)
	b.refused("help foo", "", `unknown command "foo" for "calicoctl"`)
	b.refused("help node foo", "", `unknown command "foo" for "calicoctl node"`)
	b.refused("help node run", "", "felix run")
	if out, _, code := b.run("help node status", ""); code != 0 || !strings.Contains(out, "node status [flags]") {
		t.Errorf("help of a command: exit code %d: %s", code, out)
	}
}

// Every command and flag of Calico's calicoctl is here with the same letters, or is refused by its name.
func TestCalicosCommandsAndFlags(t *testing.T) {
	commands := map[string]*cobra.Command{}
	for _, c := range tree(t) {
		commands[strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), "calicoctl"))] = c
	}
	facts, err := os.ReadFile("testdata/calico-commands.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(facts)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fact := strings.Split(strings.TrimRight(line, "\n"), "\t")
		path, name, short, takes := fact[0], fact[1], fact[2], fact[3] == "value"
		c := commands[path]
		if c == nil {
			t.Errorf("there is no calicoctl %s", path)
			continue
		}
		_, long := effects.Lookup(effects.Command, path, "--"+name)
		_, letter := effects.Lookup(effects.Command, path, "-"+short)
		if !long && !letter && !slices.Contains([]string{"config", "help", "version"}, name) {
			// which have one row for all
			t.Errorf("the table of effects has no row of calicoctl %s --%s", path, name)
		}
		if elsewhereOf(c) != "" {
			refusesByName(t, path, name, takes)
			continue
		}
		c.InitDefaultHelpFlag()
		c.InitDefaultVersionFlag()
		flag := c.Flag(name)
		switch {
		case flag == nil:
			t.Errorf("calicoctl %s has no --%s", path, name)
		case short != "" && flag.Shorthand != short:
			t.Errorf("calicoctl %s: --%s is -%s, in Calico -%s", path, name, flag.Shorthand, short)
		case takes == (flag.NoOptDefVal != ""):
			t.Errorf("calicoctl %s: --%s takes a value: %v", path, name, !takes)
		}
	}
}

// The table of effects says of commands and flags what is so.
func TestCommandsOfTheTableOfEffects(t *testing.T) {
	commands := map[string]*cobra.Command{}
	for _, c := range tree(t) {
		commands[strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), "calicoctl"))] = c
	}
	for _, row := range effects.Rows(effects.Command) {
		c := commands[row.On]
		if c == nil {
			t.Errorf("there is no calicoctl %s", row.On)
			continue
		}
		flag := c.Flag(strings.TrimLeft(row.Name, "-"))
		if flag == nil && len(row.Name) == 2 {
			flag = c.Flags().ShorthandLookup(row.Name[1:])
		}
		works := elsewhereOf(c) == "" && (row.Name == "" || flag != nil)
		if works != (row.State == effects.Works) {
			t.Errorf("calicoctl %s %s works: %v, and the table says %q", row.On, row.Name, works, row.State)
		}
	}
}

func refusesByName(t *testing.T, path, flag string, takes bool) {
	t.Helper()
	b := newBench(t)
	line := path + " --" + flag
	if takes {
		line += "=x"
	}
	out, errs, code := b.run(line, "")
	if code != 1 || out != "" || !strings.HasPrefix(errs, "Error: calicoctl "+path+" is not in this program") {
		t.Errorf("calicoctl %s: exit code %d: %s%s", line, code, out, errs)
	}
}

// -l is the level of the log, as in Calico, and never a selector of labels.
func TestLogLevel(t *testing.T) {
	b := newBench(t)
	b.run("apply -f -", pool("a", "cidr: 10.1.0.0/16"))
	b.refused("get -l rack=1 ippools", "", "--log-level=rack=1", "--selector")
	for _, level := range []string{"panic", "fatal", "error", "warn", "info", "debug", "DEBUG"} {
		out, errs, code := b.run("get -l "+level+" ippools -o name", "")
		if code != 0 || out != "ippool/a\n" {
			t.Errorf("-l %s: exit code %d: %s%s", level, code, out, errs)
		}
		if logs := strings.Contains(errs, "list"); logs != strings.EqualFold(level, "debug") {
			t.Errorf("-l %s logs %q", level, errs)
		}
	}
	_, errs, _ := b.run("--log-level=info apply -f -", pool("b", "cidr: 10.2.0.0/16"))
	if !strings.Contains(errs, "create") || strings.Contains(errs, "get") {
		t.Errorf("-l info logs %q", errs)
	}
	if _, errs, _ := b.run("-l debug get ippool nobody", ""); !strings.Contains(errs, "not found") {
		t.Errorf("-l debug logs %q", errs)
	}
	b.run("label ippool a rack=1", "")
	b.want("get ippools --selector rack=1 -o name", "", "ippool/a\n")
}

func TestVersionPolls(t *testing.T) {
	b := newBench(t)
	b.cluster("v3.31.2")
	b.refused("version --poll often", "", "--poll", "often")
	b.refused("version --poll=-1s", "", "--poll")
	if out, errs, code := b.run("version --poll=0", ""); code != 0 || strings.Count(out, "Cluster Version:") != 1 {
		t.Errorf("once: exit code %d: %s%s", code, out, errs)
	}
	w := b.watch("version --poll 10ms")
	for _, version := range []string{"v3.31.2", "v3.31.3"} {
		b.cluster(version)
		for got := ""; got != "Cluster Version:   "+version; {
			select {
			case got = <-w.lines:
			case <-time.After(time.Minute):
				t.Fatalf("the version %s is not shown", version)
			}
		}
	}
	if code := w.stop(); code != 0 {
		t.Errorf("interrupted: exit code %d", code)
	}
}
