package main

import (
	"strings"
	"testing"
)

func TestCheckJudgesStandardOutputAlone(t *testing.T) {
	for _, c := range []struct {
		name, script string
		silent       bool
		want         string // a part of the error, or nothing
	}{
		{"progress on standard error", "echo 'go: downloading x' >&2", true, ""},
		{"a difference", "echo ' M api/crds/x.yaml'", true, "M api/crds/x.yaml"},
		{"output of a check that may print", "echo fine", false, ""},
		{"a failure shows both streams", "echo out; echo err >&2; exit 3", false, "exit status 3\nout\nerr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := check{name: c.name, argv: []string{"sh", "-c", c.script}, silent: c.silent}.run(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want one with %q", err, c.want)
			}
		})
	}
}
